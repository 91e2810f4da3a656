class Error(Exception):
    pass


class DaqNotFoundError(Error):
    pass


class DaqError(Error):
    def __init__(self, message, error_code, task_name=""):
        self.error_code = error_code
        super().__init__(f"{message}\n\nStatus Code: {error_code}")
