"""Annotations of CVAT, Label Studio, YOLO and ALL-IDB to change for the worse, and pieces to put into them."""

from tests.fuzz.image_samples import HEIGHT, WIDTH

SQUARE = [[2, 2], [8, 2], [8, 7], [2, 7]]
CVAT = b"""<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><image id="0" name="a.png"
width="12" height="10"><polygon label="L1" points="2.0,2.0;8,2;8,7;2,7" group_id="1"/><mask label="L1"
rle="0, 3, 2, 3" left="1" top="1" width="4" height="2" group_id="1"/><box label="L2" xtl="2" ytl="2" xbr="8" ybr="7"
rotation="30.5"/><ellipse label="L1" cx="5" cy="5" rx="3" ry="2" rotation="10"/><points label="L2"
points="3,3;4.5,5"/><tag label="L1"/></image><image id="1" name="b.png" width="12" height="10"/></annotations>"""
CVAT_PIECES = (
    *(
        b"<!DOCTYPE a [<!ENTITY b 'bbbbbbbb'><!ENTITY c '&b;&b;&b;'>]>",
        b"&c;",
        b"<!DOCTYPE a SYSTEM 'file:///etc/hosts'>",
    ),
    *(
        b"<a>" * 3000,
        b"nan",
        b"1e400",
        b"-1",
        b"9" * 5000,
        b"<![CDATA[",
        b"<!--",
        b"utf-16",
        b"utf-7",
        b"&#xd800;",
        b"&#0;",
    ),
    *(b"../a.png", b"b.png", b"</polygon>", b"<polygon>"),
    *(b"<track id='1'/>", b"<image name='b.png'>", b"<mask label='L1' rle='", b"0, 12", b"1e9", b"99999999", b"-3"),
    *(b"<skeleton label='L1'/>", b"rotation='nan'", b"2,2;2,2;", b";;", b",,", b"group_id='", b"\xc2\xb2", b"1_0"),
)
TO_PERCENT = [[x * 100 / WIDTH, y * 100 / HEIGHT] for x, y in SQUARE]
DRAWN_ON = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "to_name": "image"}
BRUSH = [0, 0, 1, 224, 57, 27, 254, 151, 0, 194, 127, 248, 108, 3, 9, 255, 225, 176, 12, 39, 255, 180, 192, 0]
VALUES = (
    {"points": TO_PERCENT, "closed": True, "polygonlabels": ["L1"]},
    {"format": "rle", "rle": BRUSH, "brushlabels": ["L1"]},
    {"x": 20, "y": 20, "width": 30, "height": 30, "rotation": 20, "rectanglelabels": ["L2"]},
    {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 5, "ellipselabels": ["L1"]},
    {"x": 50, "y": 50, "width": 1, "keypointlabels": ["L2"]},
)
RESULT = [DRAWN_ON | {"id": f"r{i}", "type": list(v)[-1], "value": v} for i, v in enumerate(VALUES)]
LABEL_STUDIO = (
    [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"was_cancelled": False, "result": RESULT}]}],
    [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": RESULT[:1]}], "predictions": [{"result": []}]}],
    [{"id": 1, "image": "a.png", "label": [value | DRAWN_ON for value in VALUES]}, {"id": 2, "image": "b.png"}],
)
YAML = b"train: ../train/images\nval: ../valid/images\nnc: 2\nnames:\n  0: L1\n  1: L2\n"
YAML_PIECES = (
    *(
        b"names: [L1, L2]",
        b"names: {0: L1",
        b"&a [*a]",
        b"&a b",
        b"*a",
        b"!!python/object:os.system",
        b"!!int 'a'",
        b": ",
    ),
    *(b"- ", b"\t", b"{" * 3000, b"[" * 900, b"? ", b"9" * 5000, b"0: L1", b"kpt_shape: [3, 2]", b"2001-99-99", b"---"),
    *(b"<<: 1", b"~", b"yes", b"'", b"\xff", b"\x00", b"|\n", b"%YAML 9.9\n"),
)
LABEL_LINES = (
    b"0 0.2 0.2 0.7 0.2 0.7 0.7 0.2 0.7\n1 0.5 0.5 0.4 0.4\n1 0.1 0.1 0.3 0.1 0.1 0.3 0.1 0.1 0.6 0.6 0.9 0.6 0.6 0.9\n"
)
LABEL_PIECES = (
    *(b" ", b"\n", b"0", b"1 ", b"2 ", b"-1 ", b"0.5 ", b"1e400", b"nan", b"inf ", b"9" * 5000, b"1_0", b"\xd9\xa3"),
    *(b"0.2 0.2 " * 500, b"0.2 0.2 0.7 0.7 0.7 0.2 0.2 0.7 " * 40, b"0.1 " * 9, b"\x00", b"1e-320 ", b"-0.9 ", b"1.9 "),
)
XYC = b"2\t2\n7.5\t8\n\n11 9\n"
