"""torch's constructors from before dtypes: LongTensor([1, 2]), FloatTensor(2, 3)."""

from . import create, kinds


def _constructor(name, dtype):
    def make(*given):
        if len(given) == 1 and not isinstance(given[0], int):
            return create.tensor(given[0], dtype=dtype)
        return create.empty(given or (0,), dtype=dtype)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"{name}(values) or {name}(size, ...): a tensor of {dtype} on the CPU; of sizes alone, not set."
    return make


BFloat16Tensor = _constructor("BFloat16Tensor", kinds.bfloat16)
BoolTensor = _constructor("BoolTensor", kinds.bool_)
ByteTensor = _constructor("ByteTensor", kinds.uint8)
CharTensor = _constructor("CharTensor", kinds.int8)
DoubleTensor = _constructor("DoubleTensor", kinds.float64)
FloatTensor = _constructor("FloatTensor", kinds.float32)
HalfTensor = _constructor("HalfTensor", kinds.float16)
IntTensor = _constructor("IntTensor", kinds.int32)
LongTensor = _constructor("LongTensor", kinds.int64)
ShortTensor = _constructor("ShortTensor", kinds.int16)
