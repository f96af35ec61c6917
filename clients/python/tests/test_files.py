"""Files are copied as codejail copies them, and links lead nowhere outside."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from jailfleet import ConfigError
from jailfleet.codejail import _files
from jailfleet.codejail._files import Tree


class Copies(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.here = Path(holder.name)
        (self.here / "secret").write_text("outside")
        self.lib = self.here / "lib"
        (self.lib / "sub").mkdir(parents=True)
        (self.lib / "a.py").write_text("a = 1")
        (self.lib / "sub" / "b.py").write_text("b = 2")

    def copied(self, *names, extra=()):
        tree = Tree()
        tree.copy(names)
        tree.add(extra)
        return {file.path: file.content for file in tree.files()}

    def link(self, name, target):
        os.symlink(target, self.lib / name)

    def test_files_and_folders_are_copied_under_their_last_names(self):
        (self.here / "run").write_bytes(b"\xff")
        (self.here / "run").chmod(0o755)
        (self.lib / "empty").mkdir()
        tree = Tree()
        tree.copy([str(self.here / "run"), self.lib])
        found = {file.path: file for file in tree.files()}
        self.assertEqual(sorted(found), ["lib/", "lib/a.py", "lib/empty/", "lib/sub/", "lib/sub/b.py", "run"])
        self.assertEqual(found["run"].content, b"\xff")
        self.assertTrue(found["run"].executable)
        self.assertFalse(found["lib/a.py"].executable)

    def test_what_comes_later_replaces_what_has_its_name(self):
        other = self.here / "other"
        other.mkdir()
        (other / "lib").write_text("a file now")
        self.assertEqual(self.copied(self.lib, other / "lib"), {"lib": b"a file now"})
        self.assertEqual(self.copied(other / "lib", extra=[("lib", b"x")]), {"lib": b"x"})

    def test_links_that_stay_inside_a_tree_are_followed(self):
        self.link("relative", "sub/b.py")
        self.link("sub/up", "../a.py")
        self.link("twice", "relative")
        self.link("absolute", self.lib / "a.py")
        self.link("folder", "sub")
        copied = self.copied(self.lib)
        self.assertEqual(
            {path: copied.get(f"lib/{path}") for path in ("relative", "sub/up", "twice", "absolute")},
            {"relative": b"b = 2", "sub/up": b"a = 1", "twice": b"b = 2", "absolute": b"a = 1"},
        )
        self.assertEqual(copied["lib/folder/b.py"], b"b = 2")
        self.assertEqual(copied["lib/folder/up"], b"a = 1")

    def test_links_that_leave_a_tree_are_left_out(self):
        self.link("out", "../secret")
        self.link("far", self.here / "secret")
        self.link("passwd", "/etc/passwd")
        self.link("around", "../../" + self.here.name + "/lib/a.py")
        self.link("clipped", "../../lib/a.py")
        self.link("dangling", "nothing")
        self.link("hidden", "sub/out")
        self.link("sub/out", "../../secret")
        os.symlink(self.here / "secret", self.here / "top")
        copied = self.copied(self.lib, self.here / "top")
        self.assertEqual(sorted(copied), ["lib/", "lib/a.py", "lib/sub/", "lib/sub/b.py"])
        self.assertNotIn(b"outside", copied.values())

    def test_a_link_at_the_top_may_lead_to_another_of_the_files(self):
        os.symlink("secret", self.here / "top")
        self.assertEqual(self.copied(self.here / "top", self.here / "secret")["top"], b"outside")

    def test_links_in_circles_and_into_their_own_folder_end(self):
        self.link("loop", "loop")
        self.link("ping", "pong")
        self.link("pong", "ping")
        self.link("self", ".")
        self.link("sub/up", "..")
        (self.lib / "other").mkdir()
        self.link("sub/other", "../other")
        self.link("other/sub", "../sub")
        for number in range(60):
            self.link(f"chain{number}", f"chain{number + 1}")
        self.link("chain60", "a.py")
        copied = self.copied(self.lib)
        self.assertLess(len(copied), 60)
        self.assertEqual(copied["lib/chain60"], b"a = 1")
        self.assertNotIn("lib/chain0", copied)
        self.assertFalse([path for path in copied if "loop" in path or "self" in path or "ping" in path])

    def test_a_link_that_appears_while_it_is_copied_is_not_followed(self):
        real = os.lstat
        (self.here / "other").mkdir()
        (self.here / "other" / "secret").write_text("outside")
        for name, target in (("a.py", self.here / "secret"), ("sub", self.here / "other")):

            def just_before(looked_at, name=name, target=target, **given):
                found = real(looked_at, **given)
                if looked_at == name:
                    os.rename(self.lib / name, self.here / f"gone-{name}")
                    os.symlink(target, self.lib / name)
                return found

            with mock.patch.object(_files.os, "lstat", just_before), self.assertRaises(OSError):
                self.copied(self.lib)

    def test_folders_without_end_end(self):
        deep = self.lib
        for _ in range(100):
            deep = deep / "d"
            deep.mkdir()
        with self.assertRaisesRegex(ConfigError, "more than 64 folders"):
            self.copied(self.lib)

    def test_what_is_not_there_or_is_no_file_is_told(self):
        with self.assertRaises(FileNotFoundError):
            self.copied(self.here / "nothing")
        os.mkfifo(self.lib / "pipe")
        with self.assertRaisesRegex(ConfigError, "pipe"):
            self.copied(self.lib)

    def test_names_that_leave_the_working_directory_are_refused(self):
        for name in ("../x", "/etc/x", "a/../x", "", ".", "a//b", "a/", "nul\0"):
            with self.subTest(name), self.assertRaises(ConfigError):
                self.copied(extra=[(name, b"")])
        for name in ("tmp", "jailed_code"):
            with self.subTest(name), self.assertRaisesRegex(ConfigError, "taken"):
                self.copied(extra=[(name, b"")])
        with self.assertRaises(TypeError):
            self.copied(extra=[("a", "text")])
        with self.assertRaises(ConfigError):
            self.copied("/")

    def test_more_than_a_job_may_carry_is_refused_before_it_is_in_memory(self):
        with open(self.lib / "huge", "wb") as file:
            file.truncate(1 << 40)
        with self.assertRaisesRegex(ConfigError, "huge"):
            self.copied(self.lib)
        with self.assertRaisesRegex(ConfigError, "files"):
            self.copied(extra=[(f"f{number}", b"") for number in range(2000)])
