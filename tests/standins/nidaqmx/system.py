class _Device:
    name = "Dev1"
    product_type = "USB-6001"


class System:
    devices = (_Device(),)

    @classmethod
    def local(cls):
        return cls()
