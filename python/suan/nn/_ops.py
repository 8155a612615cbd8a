"""The functions generated from the op table, by op name: `ops.layer_norm(x, weight, bias, ...)`.

nn calls these rather than the torch-named functions of `suan`, whose signatures may differ.
"""


class _Table:
    def __getattr__(self, name):
        import suan

        fn = getattr(suan._c.ops, name)
        setattr(self, name, fn)
        return fn


ops = _Table()
