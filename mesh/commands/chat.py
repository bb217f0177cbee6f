"""``ig3 chat``: a conversation in the terminal, or one question whose answer pipes well."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Final

import click

from mesh.client.chat_session import ChatSession
from mesh.client.client import SubmitOptions
from mesh.client.options import options_of
from mesh.client.sync import SyncClient
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.errors import MeshError
from mesh.inspection.announced_models import announced_models, choose_model
from mesh.inspection.operator_bus import quiet_logging
from mesh.processes.terminal import terminal

if TYPE_CHECKING:
    from mesh.processes.terminal import Terminal

_INTERRUPTED: Final = 130
_EXAMPLES: Final = """\b
Examples:
  ig3 chat                                        # a conversation; /help says what it understands
  ig3 chat "Why is the sky blue?"                 # one answer, and only that on standard output
  git diff | ig3 chat "Say in a line what this changes:" -
  ig3 chat -m smollm2-135m-instruct --max-tokens 40 --seed 1 "Tell me a joke"
"""
_HELP: Final = """\
/new            begin a new conversation
/model [ID]     talk to another model; without ID, say which there are
/system [TEXT]  say how the model shall behave; without TEXT, take it back
/quit           end (Ctrl-D too)
Ctrl-C cancels a running answer."""


@click.command(epilog=_EXAMPLES)
@click.argument("question", nargs=-1)
@click.option("--model", "-m", metavar="ID", help="Who answers.  [default: a model of the mesh]")
@click.option("--system", metavar="TEXT", help="How the model shall behave.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), metavar="T", help="0 is the most likely answer.")
@click.option("--seed", type=int, metavar="N", help="The same seed gives the same answer, as far as the engine can.")
@settings_options(mesh=only(MeshSettings, "nats", "data_dir", "account"))
def chat(
    mesh: MeshSettings,
    question: tuple[str, ...],
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    seed: int | None,
) -> None:
    """Talk to a model in the terminal.

    With a QUESTION, prints one answer and ends; "-" stands for standard input. Ctrl-C cancels the running answer.
    """
    quiet_logging(mesh)
    screen = terminal()
    known = asyncio.run(announced_models(mesh))
    options = SubmitOptions(max_tokens=max_tokens, temperature=temperature, seed=seed)
    with SyncClient(options_of(mesh)) as client:
        session = ChatSession(client, screen, model or choose_model(known), options)
        session.instruct(system)
        asked = _question(question)
        if asked is None:
            _Conversation(session, screen, known).run()
        elif session.ask(asked).cancelled:
            sys.exit(_INTERRUPTED)


def _question(words: tuple[str, ...]) -> str | None:
    """Return what to ask; None for a conversation."""
    if not words and sys.stdin.isatty():
        return None
    if not words or words[-1] == "-":
        return "\n\n".join(part for part in (" ".join(words[:-1]), sys.stdin.read().strip()) if part)
    return " ".join(words)


class _Conversation:
    """Reads lines and does what they say, until there are no more."""

    def __init__(self, session: ChatSession, screen: Terminal, known: tuple[str, ...]) -> None:
        self._session = session
        self._screen = screen
        self._known = known

    def run(self) -> None:
        with contextlib.suppress(ImportError):
            # Loaded for what it does: arrows and history in input().
            import readline as _  # noqa: F401 - importing it is what it is for
        self._say(f"{self._session.model}; /help says what else there is")
        while (line := self._read()) is not None:
            if line.startswith("/"):
                if not self._obey(*line.split(maxsplit=1)):
                    return
            elif line:
                self._ask(line)

    def _read(self) -> str | None:
        try:
            return input(self._prompt()).strip()
        except EOFError:
            self._screen.out.print()
            return None
        except KeyboardInterrupt:
            self._screen.out.print()
            return ""

    def _prompt(self) -> str:
        # The marks tell readline which characters take no room.
        return "\001\033[1;36m\002> \001\033[0m\002" if self._screen.out.color_system else "> "

    def _ask(self, question: str) -> None:
        try:
            if self._session.ask(question).cancelled:
                self._say("cancelled")
        except KeyboardInterrupt:
            self._say("given up")
        except MeshError as error:
            self._screen.err.print(str(error), style="red", markup=False)
            if getattr(error, "code", "") == "context_length_exceeded":
                self._say("/new begins a new conversation")

    def _obey(self, command: str, rest: str = "") -> bool:
        """Do what a line that begins with a slash says; False ends the conversation."""
        match command:
            case "/quit" | "/exit":
                return False
            case "/new":
                self._session.forget()
                self._say("a new conversation")
            case "/model":
                self._switch(rest)
            case "/system":
                self._session.instruct(rest)
                self._say("noted" if rest else "taken back")
            case "/help":
                self._say(_HELP)
            case _:
                self._say(f"{command} is no command; /help lists them")
        return True

    def _switch(self, model: str) -> None:
        if model:
            self._session.model = model
        others = f" of {', '.join(self._known)}" if self._known else ""
        self._say(f"{self._session.model}{'' if model else others}")

    def _say(self, text: str) -> None:
        self._screen.out.print(text, style="dim", markup=False)
