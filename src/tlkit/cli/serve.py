"""`tlkit serve`: a saved classifier as a page and an API."""

from __future__ import annotations

from tlkit.cli import arguments
from tlkit.cli.shared import Commands, Options, add_threshold, command, given, load


def add_serve(commands: Commands) -> None:
    """Declare `tlkit serve`."""
    parser = command(commands, serve, "Show a classifier as a page, and let programs ask it.")
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved, or `tlkit export`")
    about = "the address to listen on; 0.0.0.0 for all that reach this machine (127.0.0.1)"
    add("--host", metavar="ADDRESS", type=arguments.not_empty, help=about)
    add("--port", metavar="N", type=arguments.count, help="the port; 0 takes a free one (8000)")
    add(
        "--similar", metavar="DIR", type=arguments.not_empty,
        help="show the most similar images of this folder, to everybody who may ask",
    )  # fmt: skip
    add_threshold(parser)
    add = parser.add_argument_group("who may ask").add_argument
    about = "what every request must bring (beyond this machine a random one, which is printed)"
    add("--token", metavar="TEXT", help=about)
    about = "ask for none beyond this machine either"
    add("--no-token", action="store_true", help=about)
    add(
        "--allow-host", metavar="NAME", dest="allowed_hosts", action="append",
        help="a name that the server may be asked by, such as that of a proxy; may be repeated",
    )  # fmt: skip
    add = parser.add_argument_group("how much they may ask").add_argument
    for name, default, about in (
        ("file-bytes", "20000000", "bytes of one file"),
        ("pixels", "50000000", "pixels of one image"),
        ("files", "32", "files in one request"),
        ("waiting", "128", "images that wait or are being computed"),
    ):
        add(f"--max-{name}", metavar="N", type=arguments.count, help=f"{about} ({default})")


def serve(options: Options) -> int:
    """Serve until somebody ends it."""
    from tlkit.delivery.serve import check_packages
    from tlkit.delivery.serve import serve as serving

    check_packages()  # before the seconds that TensorFlow takes
    names = ("host", "port", "similar", "token", "no_token", "allowed_hosts")
    limits = ("max_file_bytes", "max_pixels", "max_files", "max_waiting")
    serving(load(options), **given(options, *names, *limits))
    return 0
