"""The shipped experiments, by the names of their files: `wbcjax train --config smear_demo --workdir runs/demo`."""
