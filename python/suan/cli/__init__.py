"""The `suan` command. Heavy imports happen inside the command that needs them."""


def main():
    from .app import run

    run()
