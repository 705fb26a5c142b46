"""The comments of a wproxy.toml, given to the nodes they belong to.

A comment belongs to the directive below it, or to the one on its own line. The others come after the last directive of a block.
nginx.conf has a brace below those; TOML has only the next header, so two things tell them from comments above that header:

    [http.upstream.app]
    server = "127.0.0.1:3000"
            # indented, and a blank line follows: the end of `upstream`, which is two blocks deep

    # The line below is a header: above `server`.
    [[http.server]]

The indentation says which of the blocks that end there it is: four blanks for each block around the comment. Inside an array
of statements a comment after the last one belongs to the block whose array that is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping

from wproxy.config.document import Comments
from wproxy.config.toml_positions import Comment, Layout, Path, comments_in, layout
from wproxy.config.tree import Node

INDENTATION = "    "


def attach_comments(
    comments: Comments, document: str, file: str, nodes: list[Node], block: Node, blocks: Mapping[Path, Node]
) -> None:
    """Give each comment of a file to a node.

    nodes: the contents of the file. block: the block that they were read into. blocks: the file's blocks, by the path of their
    contents.
    """
    placed = sorted(
        ((node.position.line, order, node) for order, node in enumerate(_walk(nodes, file))), key=lambda item: item[:2]
    )
    lines = [line for line, _, _ in placed]
    ends = _Ends(document, blocks)
    for comment in comments_in(document):
        at = bisect_right(lines, comment.line)
        if not comment.is_alone and at and lines[at - 1] == comment.line:
            at = bisect_left(lines, comment.line)
        below = placed[at] if at < len(placed) else None
        ended = ends.block_at(comment, below[0] if below else None) if comment.is_alone else None
        if ended is not None:
            comments.end.setdefault(id(ended), []).append(comment.text)
        elif below is not None:
            comments.above.setdefault(id(below[2]), []).append(comment.text)
        else:
            comments.end.setdefault(id(block), []).append(comment.text)


class _Ends:
    """Finds the block that a comment ends."""

    def __init__(self, document: str, blocks: Mapping[Path, Node]) -> None:
        self.lines = document.split("\n")
        self.blocks = blocks
        self.layout: Layout = layout(document)
        self.header_lines = [line for line, _ in self.layout.headers]
        # The arrays of statements, inner ones after those around them.
        self.arrays = sorted(
            ((blocks[path].position.line, end, blocks[path]) for path, end in self.layout.ends.items() if path in blocks),
            key=lambda array: array[0],
        )

    def block_at(self, comment: Comment, below: int | None) -> Node | None:
        """Return the block that a comment ends; None when it belongs to the node below. below: the line of the next node."""
        around = [(end, node) for start, end, node in self.arrays if start < comment.line <= end]
        if around:
            end, node = around[-1]
            return node if below is None or below > end else None
        depth, rest = divmod(comment.indentation, len(INDENTATION))
        if not depth or rest or not self.is_before_blank_line(comment.line):
            return None
        at = bisect_right(self.header_lines, comment.line)
        path = self.layout.headers[at - 1][1] if at else ()
        chain = [self.blocks[path[:length]] for length in range(len(path) + 1) if path[:length] in self.blocks]
        return chain[depth - 1] if depth <= len(chain) else None

    def is_before_blank_line(self, number: int) -> bool:
        """Whether nothing, or a blank line, follows the comments that begin at this line."""
        text = ""
        while number < len(self.lines):
            text = self.lines[number].strip()
            if not text.startswith("#"):
                break
            number += 1
        return not text or text.startswith("#")


def _walk(nodes: list[Node], file: str) -> Iterator[Node]:
    """Yield the nodes of one file and their contents, outermost first."""
    for node in nodes:
        if node.position.file == file:
            yield node
            yield from _walk(node.children or [], file)
