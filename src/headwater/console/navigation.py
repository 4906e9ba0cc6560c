"""The left navigation: what there is, for whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One entry. text: in English, as the catalogue's key."""

    path: str
    text: str
    icon: str
    operator: bool = False

    def active(self, path: str) -> bool:
        """Whether a page belongs to this entry."""
        return path == self.path or path.startswith(f"{self.path}/")


@dataclass(frozen=True)
class Group:
    """Entries under one title; the first group has none."""

    title: str
    items: tuple[Item, ...]


GROUPS = (
    Group(
        "",
        (
            Item("/domains", "Domains", "domains"),
            Item("/streams", "Streams", "course"),
            Item("/tickets", "Quotas and tickets", "tickets"),
        ),
    ),
    Group(
        "Registers",
        (
            Item("/filings", "ICP filings", "filings", operator=True),
            Item("/claims", "Claims register", "claims", operator=True),
        ),
    ),
    Group(
        "Platform",
        (
            Item("/accounts", "Accounts", "accounts", operator=True),
            Item("/users", "Operators and users", "users", operator=True),
            Item("/nodes", "Nodes", "nodes", operator=True),
            Item("/callbacks", "Undelivered callbacks", "alert", operator=True),
            Item("/uploads", "Files not stored", "upload", operator=True),
            Item("/audit", "Audit log", "audit"),
        ),
    ),
)


def navigation(operator: bool) -> list[Group]:
    """The groups and entries that this kind of user sees."""
    shown = [Group(group.title, tuple(item for item in group.items if operator or not item.operator)) for group in GROUPS]
    return [group for group in shown if group.items]
