"""Reads pickles without running them: a stream of bytes in, plain data and tensors not yet loaded out.

A pickle is a program; here its instructions are followed symbolically. No name in it is imported or called: a name
outside `ALLOWED` is refused, and the few inside stand for plain data. Source: PEP 3154 and Python's `pickletools`.

Why not `pickle.Unpickler` with an allow-list in `find_class`: it hashes dict keys, sets up its memo and sets attributes
in C, where no hook sees them. Measured on Python 3.11: a key of 10^6 nested tuples (1 MB) ends the process with
SIGSEGV; a key of 60 doubled tuples (128 bytes) never ends; one memo index (8 bytes) asks for 16 GB; BUILD sets
attributes on whatever has them. Here the first two are refused and the others do nothing. This reader is slower, and
that does not matter: the 1200 tensors of an EfficientNet-B7 take 0.04 s here and 0.008 s there, of a conversion of
several seconds.
"""

import io
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from fdetect_jax.convert.tensors import DTYPES, CheckpointError, Storage, Tensor, brief

MAX_INSTRUCTIONS = 4_000_000
MAX_DEPTH = 100  # containers within containers; the modules of a StyleGAN2 have 16
MAX_BITS = 128  # of a whole number; the state of a random generator has as many


class NotAPickle(CheckpointError):
    """The bytes are no pickle, or only a part of one."""


@dataclass(frozen=True)
class Name:
    """A name in the pickle, never resolved."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class Persistent:
    """A module of NVlabs' `torch_utils.persistence`: its class's name and its attributes; its source is dropped."""

    name: str
    state: dict


def storage_dtype(name: Any) -> np.dtype:
    """The dtype of a storage class's name."""
    if not isinstance(name, Name) or name.name not in DTYPES:
        found = brief(str(name)) if isinstance(name, Name) else brief(name)
        raise CheckpointError(f"found a storage of type {found}, wanted one of {sorted(DTYPES)}")
    return DTYPES[name.name]


def _key(key: Any) -> Any:
    """A dict's key: a plain value or a flat tuple of them.

    To hash nested tuples can overflow the stack, or never end. Numbers of more than 64 bits can be chosen such that all
    have one hash, and then a dict of n of them takes time n^2.
    """
    for part in key if isinstance(key, tuple) else (key,):
        if part is not None and not isinstance(part, bool | int | float | str | bytes):
            raise CheckpointError(f"refused: the key of a dict is or has {brief(part)}, wanted text or numbers")
        if isinstance(part, int) and part.bit_length() > 64:
            raise CheckpointError(f"refused: the key of a dict is or has {part}, wanted a number of 64 bits at most")
    return key


def _mapping(pairs: Any = ()) -> dict:
    return {_key(key): value for key, value in (pairs.items() if isinstance(pairs, dict) else pairs)}


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise CheckpointError("found a tensor that is not made of a storage, a shape and strides")
    return Tensor(storage, offset, shape, strides)


def _persistent(meta: dict) -> Persistent:
    if meta.get("type") != "class" or not isinstance(meta.get("state"), dict):
        raise CheckpointError("found a persistent object without a class and a state")
    name = meta.get("class_name")
    if not isinstance(name, str):
        raise CheckpointError(f"found a persistent object of class {brief(name)}, wanted its name")
    return Persistent(name, meta["state"])


def _numpy_dtype(text: Any, *_: Any) -> np.dtype:
    if text not in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "b1"):
        raise CheckpointError(f"found an array of type {brief(text)}, wanted plain numbers")
    return np.dtype(text).newbyteorder("<")


def _numpy_scalar(dtype: Any, data: Any) -> int | float | bool:
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise CheckpointError("found a NumPy scalar without a dtype and its bytes")
    return np.frombuffer(data, dtype)[0].item()


def _numpy_array(*_: Any) -> Tensor:
    """A NumPy array before its state is set: it has no values."""
    return Tensor(Storage(np.dtype("<f4"), 0, bytes), 0, (0,), (1,))


def _fill(array: Tensor, state: tuple) -> None:
    """Sets the state of a NumPy array: version, shape, dtype, whether columns come first, and bytes."""
    _, shape, dtype, columns, data = state
    if not isinstance(shape, tuple) or not isinstance(dtype, np.dtype) or not isinstance(data, bytes):
        raise CheckpointError("found a NumPy array without a shape, a dtype and its bytes")
    sizes = shape if columns else shape[::-1]
    strides = tuple(int(np.prod(sizes[:i], dtype=object)) for i in range(len(shape)))
    storage = Storage(dtype, len(data) // dtype.itemsize, lambda: data)
    vars(array).update(vars(Tensor(storage, 0, shape, strides if columns else strides[::-1])))


def _encoded(text: Any, encoding: Any = "utf-8") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "utf-8"):
        raise CheckpointError(f"found text in {brief(encoding)}, wanted latin1 or utf-8")
    return text.encode(encoding)


# What may be made, and of what. Nothing here opens, imports or runs anything.
_MADE: dict[str, Callable] = {
    "collections.OrderedDict": _mapping,
    "dnnlib.util.EasyDict": _mapping,
    "argparse.Namespace": _mapping,
    "builtins.set": lambda values=(): list(values),
    "__builtin__.set": lambda values=(): list(values),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.device": lambda *place: None,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "numpy.dtype": _numpy_dtype,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "numpy.core.multiarray._reconstruct": _numpy_array,
    "numpy._core.multiarray._reconstruct": _numpy_array,
    "tfutil.Network": dict,
    "_codecs.encode": _encoded,
}
_LOAD = "torch.storage._load_from_bytes"
_DTYPE_NAMES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_NAMED = ("numpy.ndarray",)  # as an argument alone
ALLOWED = frozenset([*_MADE, *_NAMED, _LOAD, *(f"torch.{name}" for name in (*DTYPES, *_DTYPE_NAMES))])
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_VALUES = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
    ]
)
_MARK = object()


@dataclass
class _Machine:
    """The stack and the memo of one pickle."""

    persistent: Callable[[Any], Any]
    nested: Callable[[bytes], Any]
    stack: list = field(default_factory=list)
    memo: dict = field(default_factory=dict)
    copied: int = 0

    def to_mark(self) -> list:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise NotAPickle("not a pickle: a mark is missing")

    def name(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise NotAPickle("not a pickle: a name in it is no text")
        found = Name(module, name)
        if str(found) not in ALLOWED:
            raise CheckpointError(
                f"refused: it names {brief(str(found))}, which is not needed to hold weights; wanted a state dict of "
                "plain tensors"
            )
        return found

    def make(self, name: Any, arguments: Any) -> Any:
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise CheckpointError(f"refused: it calls {brief(name)}, which is no name")
        if str(name) == _LOAD:
            return self.nested(*arguments)
        self.copied += sum(len(a) for a in arguments if isinstance(a, list | dict | tuple | str))
        if self.copied > MAX_INSTRUCTIONS:
            raise CheckpointError("refused: it copies more than weights need")
        if str(name) not in _MADE:
            raise CheckpointError(f"refused: it calls {name}, which may only be named")
        return _MADE[str(name)](*arguments)

    def build(self, state: Any) -> None:
        """State for the object on top: a dict's attributes, and a dtype's details, are not weights."""
        top = self.stack[-1]
        if isinstance(top, dict) and not top and isinstance(state, dict):
            top.update(state)  # argparse.Namespace
        elif isinstance(top, Tensor) and not top.storage.count and isinstance(state, tuple) and len(state) == 5:
            _fill(top, state)
        elif isinstance(top, np.dtype) and isinstance(state, tuple) and ">" in state[1:2]:
            raise CheckpointError("found numbers of a big-endian machine, wanted little-endian")
        elif not isinstance(top, dict | np.dtype | Tensor | Persistent):
            raise CheckpointError(f"refused: it sets the state of {type(top).__name__}")

    def put(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Entries for the dict on top."""
        top = self.stack[-1]
        if not isinstance(top, dict):
            raise TypeError(f"entries for {brief(top)}")
        top.update(_mapping(pairs))

    def follow(self, code: str, argument: Any) -> None:
        stack = self.stack
        if code in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > MAX_BITS:
                raise CheckpointError(f"refused: a number of {argument.bit_length()} bits, wanted {MAX_BITS} at most")
            stack.append(argument)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code in _TUPLES:
            count = _TUPLES[code]
            items = tuple(stack[-count:])
            if len(items) != count:
                raise IndexError
            stack[-count:] = [items]
        elif code in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif code == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif code in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif code == "MARK":
            stack.append(_MARK)
        elif code == "POP":
            stack.pop()
        elif code == "POP_MARK":
            self.to_mark()
        elif code == "DUP":
            stack.append(stack[-1])
        elif code == "TUPLE":
            stack.append(tuple(self.to_mark()))
        elif code in ("LIST", "FROZENSET"):
            stack.append(self.to_mark())
        elif code == "DICT":
            items = self.to_mark()
            stack.append(_mapping(zip(items[::2], items[1::2], strict=True)))
        elif code == "APPEND":
            value = stack.pop()
            stack[-1].append(value)
        elif code in ("APPENDS", "ADDITEMS"):
            items = self.to_mark()
            stack[-1].extend(items)
        elif code == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self.put([(key, value)])
        elif code == "SETITEMS":
            items = self.to_mark()
            self.put(zip(items[::2], items[1::2], strict=True))
        elif code == "GLOBAL":
            stack.append(self.name(*argument.split(" ", 1)))
        elif code == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(self.name(module, name))
        elif code in ("REDUCE", "NEWOBJ"):
            arguments, name = stack.pop(), stack.pop()
            stack.append(self.make(name, arguments))
        elif code == "BUILD":
            self.build(stack.pop())
        elif code == "BINPERSID":
            stack.append(self.persistent(stack.pop()))
        elif code not in ("PROTO", "FRAME", "STOP"):
            raise CheckpointError(f"refused: the instruction {code} is not needed to hold weights")


def read(
    stream: BinaryIO, persistent: Callable[[Any], Any] | None = None, nested: Callable[[bytes], Any] | None = None
) -> Any:
    """The object of the next pickle of a stream, which is left behind its end.

    Args:
      stream: binary, seekable.
      persistent: what a persistent id stands for; None: such ids are refused.
      nested: reads the bytes of a tensor that was pickled on its own; None: such tensors are refused.

    Returns:
      None, bool, int, float, str, bytes, tuples, lists, dicts, `Tensor` and `Persistent`. Names that stand for
      types stay `Name`.

    Raises:
      CheckpointError: it is no pickle, is damaged, names something outside `ALLOWED`, or nests containers deeper than
        `MAX_DEPTH`; a container within itself counts as such.
    """

    def refuse(_: Any) -> Any:
        raise CheckpointError("refused: it points to data that this kind of file does not hold")

    machine = _Machine(persistent or refuse, nested or refuse)
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_INSTRUCTIONS:
                raise CheckpointError(f"refused: more than {MAX_INSTRUCTIONS} instructions")
            machine.follow(instruction.name, argument)
        (value,) = machine.stack
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise NotAPickle(f"not a whole pickle ({type(error).__name__}: {error})") from None
    if value is _MARK:
        raise NotAPickle("not a pickle: it ends in a mark")
    _check_depth(value, 0, {})
    return value


def _check_depth(value: Any, level: int, known: dict[int, int]) -> int:
    """How deeply containers nest in `value`, which lies in `level` others. known: those measured before, by id."""
    if not isinstance(value, tuple | list | dict | Persistent):
        return 0
    depth = known.get(id(value), 0)
    if level + max(depth, 1) > MAX_DEPTH:
        raise CheckpointError(f"refused: it nests containers deeper than {MAX_DEPTH}, which weights do not need")
    if not depth:
        inside = (value.state,) if isinstance(value, Persistent) else value
        inside = inside.values() if isinstance(inside, dict) else inside
        depth = known[id(value)] = 1 + max((_check_depth(item, level + 1, known) for item in inside), default=0)
    return depth


def read_bytes(data: bytes, **hooks: Any) -> Any:
    """`read` of bytes that hold one pickle."""
    return read(io.BytesIO(data), **hooks)
