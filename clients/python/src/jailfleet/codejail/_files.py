"""Files and folders of the caller, as they are copied into a job.

They are copied as codejail does it, each under its last name, but for links: one that stays inside what
is copied becomes what it leads to, and any other is left out. Nothing outside is ever read through one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Optional, Union

from ..errors import ConfigError
from ..job import File

Name = Union[str, "os.PathLike[str]"]

#: Workers take no more (``caps.files``).
MOST_FILES = 1024
#: No job is larger, whatever is in it.
MOST_BYTES = 8_388_608
#: As the kernel counts.
MOST_LINKS = 40
MOST_DEPTH = 64
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What the sandbox has there itself.
TAKEN = ("tmp", "jailed_code")


@dataclass
class _Content:
    content: bytes
    executable: bool = False


@dataclass
class _Link:
    target: str


@dataclass
class _Folder:
    entries: dict[str, _Node] = field(default_factory=dict)


_Node = Union[_Content, _Link, _Folder]


class Tree:
    """What the working directory of a run will hold."""

    def __init__(self) -> None:
        self._root = _Folder()
        # Where a copied entry was on the host: links with absolute targets may lead there.
        self._copied: list[tuple[PurePosixPath, str]] = []
        self._files = 0
        self._bytes = 0

    def copy(self, names: Iterable[Name]) -> None:
        """Copies files and folders under their last names; what comes later replaces what was there.

        :raises OSError: for what is not there, or cannot be read.
        :raises ConfigError: for what is too much, or neither file nor folder.
        """
        for name in names:
            path = os.fspath(name)
            last = os.path.basename(path.rstrip("/"))
            if last in ("", ".", ".."):
                raise ConfigError(f"files: {path!r} has no last name to copy it under")
            self._root.entries[last] = self._read(path, path)
            self._copied.append((PurePosixPath(os.path.abspath(path)), last))

    def add(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Writes files over what was copied.

        :raises ConfigError: for a name that leaves the working directory.
        """
        for name, content in files:
            if not isinstance(content, (bytes, bytearray, memoryview)):
                raise TypeError(f"extra_files: {name!r}: a bytes-like object is required")
            parts = name.split("/")
            if any(part in ("", ".", "..") for part in parts) or "\0" in name:
                raise ConfigError(f"extra_files: {name!r} does not stay in the working directory")
            folder = self._root
            for part in parts[:-1]:
                inner = folder.entries.setdefault(part, _Folder())
                if not isinstance(inner, _Folder):
                    raise ConfigError(f"extra_files: {name!r} lies below a file")
                folder = inner
            if isinstance(folder.entries.get(parts[-1]), _Folder):
                raise ConfigError(f"extra_files: {name!r} is a folder")
            self._count(len(content), name)
            folder.entries[parts[-1]] = _Content(bytes(content))

    def files(self) -> list[File]:
        """The files of the job.

        :raises ConfigError: for a name that the sandbox has itself.
        """
        for name in TAKEN:
            if name in self._root.entries:
                raise ConfigError(f"{name!r} is taken in the working directory: give another name")
        found: list[File] = []
        self._list(self._root, (), found)
        return found

    def _count(self, size: int, name: str) -> None:
        self._files += 1
        self._bytes += size
        if self._files > MOST_FILES or self._bytes > MOST_BYTES:
            raise ConfigError(f"more than {MOST_FILES} files, or {MOST_BYTES} bytes of them, with {name!r}")

    def _read(self, name: str, shown: str, folder: Optional[int] = None, depth: int = 0) -> _Node:
        """Reads `name` in an open folder. Should somebody put a link or a pipe in the place of what is
        there at this moment, it is neither followed nor waited for."""
        mode = os.lstat(name, dir_fd=folder).st_mode
        if stat.S_ISLNK(mode):
            return _Link(os.readlink(name, dir_fd=folder))
        if depth > MOST_DEPTH:
            raise ConfigError(f"files: {shown!r} lies in more than {MOST_DEPTH} folders")
        if stat.S_ISDIR(mode):
            self._count(0, shown)
            handle = os.open(name, os.O_DIRECTORY | _OPEN, dir_fd=folder)
            try:
                with os.scandir(handle) as entries:
                    names = [entry.name for entry in entries]
                return _Folder(
                    {inner: self._read(inner, f"{shown}/{inner}", handle, depth + 1) for inner in names}
                )
            finally:
                os.close(handle)
        if not stat.S_ISREG(mode):
            raise ConfigError(f"files: {shown!r} is neither a file nor a folder")
        with os.fdopen(os.open(name, os.O_NONBLOCK | _OPEN, dir_fd=folder), "rb") as file:
            content = file.read(MOST_BYTES + 1)
        self._count(len(content), shown)
        return _Content(content, bool(mode & 0o111))

    def _list(self, folder: _Folder, at: tuple[str, ...], found: list[File]) -> None:
        if at:
            found.append(File("/".join(at) + "/"))
        for name in sorted(folder.entries):
            node = folder.entries[name]
            path = (*at, name)
            if isinstance(node, _Link):
                led_to = self._follow(at, node)
                if led_to is None:
                    continue
                node = led_to
            if isinstance(node, _Folder):
                self._list(node, path, found)
            elif isinstance(node, _Content):
                found.append(File("/".join(path), node.content, node.executable))
            if len(found) > MOST_FILES:
                raise ConfigError(f"more than {MOST_FILES} files, links followed")

    def _follow(self, at: tuple[str, ...], link: _Link) -> Optional[_Node]:
        """What a link in the folder `at` leads to; None outside, in a circle, and into its own folder."""
        budget = [MOST_LINKS]
        place = self._walk(at, link, budget)
        if place is None:
            return None
        # A link to a folder above it would be copied into itself without end.
        if at[: len(place)] == place:
            return None
        node = self._at(place)
        return self._bounded(place, node)

    def _bounded(self, place: tuple[str, ...], node: Optional[_Node]) -> Optional[_Node]:
        """A folder that is reached by a link comes without links of its own that lead to folders:
        two that lead to each other would have no end."""
        if not isinstance(node, _Folder):
            return node
        plain = _Folder()
        for name, entry in node.entries.items():
            if isinstance(entry, _Link):
                end = self._walk(place, entry, [MOST_LINKS])
                file = self._at(end) if end is not None else None
                if isinstance(file, _Content):
                    plain.entries[name] = file
            else:
                inner = self._bounded((*place, name), entry)
                if inner is not None:
                    plain.entries[name] = inner
        return plain

    def _walk(self, at: Sequence[str], link: _Link, budget: list[int]) -> Optional[tuple[str, ...]]:
        """Where a link in the folder `at` leads to, as a path without links."""
        budget[0] -= 1
        parts = self._parts(at, link.target)
        if parts is None or budget[0] < 0:
            return None
        place: tuple[str, ...] = ()
        for part in parts:
            if part == "..":
                if not place:
                    return None
                place = place[:-1]
                continue
            folder = self._at(place)
            node = folder.entries.get(part) if isinstance(folder, _Folder) else None
            if node is None:
                return None
            if isinstance(node, _Link):
                end = self._walk(place, node, budget)
                if end is None:
                    return None
                place = end
            else:
                place = (*place, part)
        return place

    def _parts(self, at: Sequence[str], target: str) -> Optional[list[str]]:
        if not target.startswith("/"):
            return [*at, *(part for part in target.split("/") if part not in ("", "."))]
        wanted = PurePosixPath(target)
        for source, name in reversed(self._copied):
            if wanted == source or source in wanted.parents:
                return [name, *wanted.relative_to(source).parts]
        return None

    def _at(self, place: Sequence[str]) -> Optional[_Node]:
        node: _Node = self._root
        for part in place:
            if not isinstance(node, _Folder) or part not in node.entries:
                return None
            node = node.entries[part]
        return node
