"""What is worked out of a message before the window takes it in: of a large model, in the thread that decodes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gradscope.protocol.codec import Frame
from gradscope.protocol.messages import Opened
from gradscope.state.tree import Node, build_tree


@dataclass(frozen=True, kw_only=True)
class OpenedWithTree(Opened):
    """The same, with the tree of its layers, numbered and ready to be searched."""

    tree: Node


def worked_out(frame: Frame) -> Frame:
    """The frame, with more in it where that takes long."""
    message = frame.message
    if not isinstance(message, Opened):
        return frame
    tree = build_tree(message.session)
    # Both are made when they are first asked for.
    tree.rows.names  # noqa: B018
    return replace(frame, message=OpenedWithTree(session=message.session, position=message.position, tree=tree))
