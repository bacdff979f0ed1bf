"""``python -m service``: the API, with settings from ``RETAKE_*`` variables."""

from service.logs import configure
from service.server import serve
from service.settings import ServiceSettings


def main() -> None:
    settings = ServiceSettings()
    configure(settings.log_level)
    serve(settings)


if __name__ == "__main__":
    main()
