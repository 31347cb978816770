"""The command that lets viewers of other machines compute on this one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_sam.cli.application import app
from napari_sam.cli.console import clear_errors, err, out
from napari_sam.cli.options import Precision

if TYPE_CHECKING:
    from napari_sam.serving.offers import Offers


@app.command(epilog="Example: napari-sam serve --listen 127.0.0.1:8765 --model vit_b")
def serve(
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes any free one.")
    ] = "127.0.0.1:8765",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model to offer, by name or path; may be repeated. By default all on this disk.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where the models run: auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    precision: Precision = "auto",
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token, readable by its owner alone (mode 600); by default a token "
            "is made and printed."
        ),
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="TLS certificate, to encrypt.")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key of the certificate.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow other machines to connect without encryption.")
    ] = False,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="A name that users call this machine by; may be repeated."),
    ] = None,
    memory_gb: Annotated[
        float, typer.Option(min=0.1, help="Memory for the embeddings of all users, in GB.")
    ] = 4.0,
    users: Annotated[int, typer.Option(min=1, help="Most users at the same time.")] = 32,
    message_mb: Annotated[
        int, typer.Option(min=1, help="Size of the largest message, in MB.")
    ] = 64,
) -> None:
    """Compute for viewers on other machines."""
    with clear_errors():
        name, port = _place_of(listen)
        if (cert is None) != (key is None):
            raise ValueError("expected both --cert and --key, got one of them")
        for path in (cert, key):
            if path is not None and not path.is_file():
                raise FileNotFoundError(f"expected a file at {path}, found none")
        _need_extra()
        from napari_sam.segmentation.tokens import new_token, read_token
        from napari_sam.serving.gate import Gate, check_exposure, own_names
        from napari_sam.serving.limits import ServerLimits
        from napari_sam.serving.listening import (
            check_certificate,
            make_app,
            make_server,
            open_socket,
        )
        from napari_sam.serving.offers import Offers
        from napari_sam.serving.visits import Desk

        if cert is not None and key is not None:
            check_certificate(cert, key)
        check_exposure(name, cert is not None, insecure)
        token = new_token() if token_file is None else read_token(token_file)
        limits = ServerLimits(
            message_bytes=message_mb << 20, memory_bytes=round(memory_gb * 2**30), users=users
        )
        desk = Desk(Offers.of(model or (), device, precision), limits)
        gate = Gate(token, own_names(name, host or ()))
        server = make_server(make_app(desk, gate), limits.message_bytes, cert, key)
        with open_socket(name, port) as listening:
            port = listening.getsockname()[1]
            address = f"{'ws' if cert is None else 'wss'}://{_bracketed(name)}:{port}"
            _announce(address, token if token_file is None else None, desk.offers)
            server.run(sockets=[listening])
        desk.close()


def _place_of(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.strip("[]")
    if not (colon and host and port.isdecimal() and int(port) < 2**16):
        raise ValueError(f"expected a host and a port such as 127.0.0.1:8765, got {listen!r}")
    return host, int(port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _need_extra() -> None:
    from napari_sam.segmentation.address import MISSING

    for library in ("fastapi", "uvicorn", "websockets"):
        try:
            __import__(library)
        except ImportError:
            raise ImportError(MISSING.format(name=library)) from None


def _announce(address: str, token: str | None, offers: Offers) -> None:
    out.print(f"listening at {address}", highlight=False, soft_wrap=True)
    out.print(f"models: {', '.join(offers.names)}", highlight=False, soft_wrap=True)
    if token is not None:
        out.print(f"token: {token}", highlight=False, markup=False, soft_wrap=True)
    err.print("stop it with Ctrl+C", highlight=False)
