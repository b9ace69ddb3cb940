"""Pickles read as data: an interpreter of the opcodes that files of arrays use, which imports and calls nothing.

`pickle.Unpickler` with its own `find_class` would not do: its C code allocates whatever size a damaged file names.
Opcodes are those of the standard library's `pickletools`, which documents each.
"""

import io
import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Functions = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Global:
    """The name of something in a Python module, as the pickle has it. It cannot be called."""

    name: str  # with the module: "collections.OrderedDict"


@runtime_checkable
class Stateful(Protocol):
    """An object whose state a pickle may set."""

    def set_state(self, state: Any) -> None: ...


def read_pickle(
    data: bytes,
    functions: Functions,
    names: frozenset[str] = frozenset(),
    external: Callable[[Any], Any] | None = None,
    what: str = "weights",
) -> Any:
    """The value that the pickle `data` describes, of None, bool, int, float, str, bytes, tuple, list, dict, Global.

    Args:
        functions: what to call in place of each function that the pickle may call, by its name.
        names: further names that the pickle may hold, but not call.
        external: gives the value of a reference to an object outside of the pickle.
        what: the pickle should hold, in the plural.

    Raises ValueError on any other Python name, naming it, on a key that is twice in a dict, on any other opcode, and on
    a damaged or truncated pickle.
    """
    file = io.BytesIO(data)
    value = read_next_pickle(file, functions, names, external, what)
    if file.tell() != len(data):
        raise ValueError(f"{len(data) - file.tell()} bytes behind the end of its pickle; fetch the file again")
    return value


def read_next_pickle(
    file: io.BytesIO,
    functions: Functions,
    names: frozenset[str] = frozenset(),
    external: Callable[[Any], Any] | None = None,
    what: str = "weights",
) -> Any:
    """As `read_pickle`, from the position of `file`, which is moved to the end of the pickle."""
    try:
        return _Machine(functions, names, external, what).run(file)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"a damaged pickle ({error!r}); fetch the file again") from error


class _Machine:
    def __init__(
        self, functions: Functions, names: frozenset[str], external: Callable[[Any], Any] | None, what: str
    ) -> None:
        self.functions, self.names, self.external, self.what = functions, names, external, what
        self.bare = "state dict" if what == "weights" else what
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}

    def run(self, file: io.BytesIO) -> Any:
        for opcode, argument in _opcodes(file):
            if opcode.name in _LITERALS:
                self.stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name])
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            elif opcode.name not in _IGNORED:
                named = f" {argument!r}" if argument is not None else ""
                raise ValueError(
                    f"its pickle has the opcode {opcode.name}{named}, which no {self.what} need; do not use it"
                )
        if len(self.stack) != 1:
            raise ValueError(f"a damaged pickle ({len(self.stack)} values at its end); fetch the file again")
        return self.stack[0]

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        return self.take(len(self.stack) - self.marks.pop())

    def take(self, count: int) -> list[Any]:
        """The last `count` values, off the stack."""
        start = len(self.stack) - count
        if start < 0:
            raise IndexError("values are missing")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def remember(self, slot: int | None) -> None:
        self.memo[len(self.memo) if slot is None else slot] = self.stack[-1]

    def recall(self, slot: int) -> None:
        self.stack.append(self.memo[slot])

    def tuple_of(self, count: int) -> None:
        self.stack.append(tuple(self.take(count)))

    def append(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            set_item(target, key, value)

    def push_name(self, name: str) -> None:
        if name not in self.functions and name not in self.names:
            raise ValueError(
                f"its pickle asks for {name[:100]!r}, which is no part of {self.what}; nothing was executed. From a "
                f"source that you trust, save the bare {self.bare} again; otherwise do not use the file"
            )
        self.stack.append(Global(name))

    def call(self) -> None:
        function, arguments = self.take(2)
        if not isinstance(function, Global) or function.name not in self.functions:
            raise ValueError("its pickle calls what is no function; do not use the file")
        self.stack.append(self.functions[function.name](*arguments))

    def set_state(self) -> None:
        (state,) = self.take(1)
        # An ordered dict's state holds torch's version numbers, and no weights.
        if not isinstance(self.stack[-1], dict):
            self.top(Stateful).set_state(state)

    def refer(self) -> None:
        (reference,) = self.take(1)
        if self.external is None:
            raise ValueError("its pickle refers to what is outside of it; save the model again")
        self.stack.append(self.external(reference))

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"{type(self.stack[-1]).__name__} in the place of {kind.__name__}")
        return self.stack[-1]


def _opcodes(file: io.BytesIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
    try:
        for opcode, argument, _ in pickletools.genops(file):
            yield opcode, argument
    except ValueError as error:
        raise ValueError(f"a damaged or truncated pickle ({error}); fetch the file again") from error


def set_item(target: dict, key: Any, value: Any) -> None:
    """Put an item into a dict. Raises ValueError if the key is there already."""
    if not isinstance(key, (str, int)):  # others may take very long to hash
        raise ValueError(f"its pickle has a name of type {type(key).__name__}; expected text")
    if key in target:
        raise ValueError(f"{key!r} is there twice")
    target[key] = value


def ordered_dict(pairs: Any = ()) -> dict:
    """Takes the place of `collections.OrderedDict`."""
    made: dict = {}
    for key, value in pairs:
        set_item(made, key, value)
    return made


def is_shape(value: Any) -> bool:
    """Whether it is a tuple of counts such as an array's shape."""
    # NumPy has arrays of at most 64 axes.
    return isinstance(value, tuple) and len(value) <= 64 and all(type(n) is int and 0 <= n < 2**48 for n in value)


_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_IGNORED = {"PROTO", "FRAME", "STOP"}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "MARK": _Machine.mark,
    "MEMOIZE": _Machine.remember,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append(machine.take(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": lambda machine, argument: machine.push_name(argument.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.push_name(".".join(machine.take(2))),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.set_state(),
    "BINPERSID": lambda machine, _: machine.refer(),
}
