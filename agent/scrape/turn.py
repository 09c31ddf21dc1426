"""Whose turn it is to scrape a target. An agent that shares work with others may lose its turn at any moment."""

from dataclasses import dataclass
from typing import Protocol

from agent.target import Target


class Turn(Protocol):
    """One agent's time with a target, until it ends; there is another turn afterwards, or none.

    `seed` moves the moments at which targets are scraped: agents that may follow each other on a target have the same.
    """

    @property
    def seed(self) -> str:
        """What the phase of the scrapes depends on, beside the target."""

    @property
    def has_ended(self) -> bool:
        """Whether scraping is to stop, without ending any series: somebody else goes on with them."""

    def may_keep(self) -> bool:
        """Tell whether what was scraped may be sent; false as soon as another agent may have begun."""

    def uncovered_since_s(self) -> float | None:
        """Return how long ago others surely scraped for the last time; None where nothing is to be made up for."""


class TurnOf(Protocol):
    """Says whose turn it is; called at every change of targets."""

    def __call__(self, target: Target) -> Turn | None:
        """Return this agent's turn at the target; None if it is not its turn."""


@dataclass(frozen=True, slots=True)
class Always:
    """An agent's turn at targets that are nobody else's."""

    seed: str
    has_ended: bool = False

    def may_keep(self) -> bool:
        """Return true."""
        return True

    def uncovered_since_s(self) -> float | None:
        """Return None: nobody else scrapes them."""
        return None
