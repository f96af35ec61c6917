//! A walk through folders of ours, as hostile as a program could leave them.

use super::bring_out;
use crate::artifacts::{self, Gathered};
use jailfleet::artifact::{ArtifactCaps, ArtifactPath, LeftOutReason, MOST_LEVELS};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknod};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

const CAPS: ArtifactCaps = ArtifactCaps {
    entries: 50,
    file_bytes: 1000,
    all_bytes: 1500,
};

/// A working directory with one file in it.
fn left() -> tempfile::TempDir {
    let cwd = tempfile::tempdir().expect("a folder");
    fs::write(cwd.path().join("report.json"), "{}").expect("room on the disk");
    fs::create_dir(cwd.path().join("out")).expect("room on the disk");
    cwd
}

fn gather_within(cwd: &Path, wanted: &[&str], caps: &ArtifactCaps) -> Gathered {
    let path = |text: &&str| ArtifactPath::parse(text).expect("a path");
    let wanted: Vec<_> = wanted.iter().map(path).collect();
    let asked = artifacts::wanted(&wanted, caps);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let folder = open(cwd, flags, Mode::empty()).expect("a folder");
    let mut stream = tempfile::tempfile().expect("room on the disk");
    let out = stream.try_clone().expect("a descriptor");
    bring_out(&asked, folder.as_fd(), out).expect("it is brought out");
    let mut bytes = Vec::new();
    stream.rewind().expect("a file");
    stream.read_to_end(&mut bytes).expect("a file");
    assert!(bytes.len() <= artifacts::most_stream_bytes(wanted.len(), caps));
    artifacts::read(&bytes, &wanted, caps)
}

fn gather(cwd: &tempfile::TempDir, wanted: &[&str]) -> Gathered {
    gather_within(cwd.path(), wanted, &CAPS)
}

/// What came, and what was left out, in short.
fn told(gathered: &Gathered) -> (Vec<String>, Vec<(String, &'static str)>) {
    let came = gathered.artifacts.iter().map(|artifact| {
        let content = String::from_utf8_lossy(artifact.content.as_bytes()).into_owned();
        format!("{}={content}", artifact.path)
    });
    let left_out = gathered
        .left_out
        .iter()
        .map(|left_out| (left_out.path.to_string(), left_out.reason.as_str()));
    (came.collect(), left_out.collect())
}

fn reasons(gathered: &Gathered) -> Vec<(String, &'static str)> {
    let (came, left_out) = told(gathered);
    assert_eq!(came, Vec::<String>::new());
    left_out
}

fn only(path: &str, reason: LeftOutReason) -> Vec<(String, &'static str)> {
    vec![(path.to_owned(), reason.as_str())]
}

#[test]
fn files_and_trees_come_in_the_order_of_the_list_and_of_the_names() {
    let cwd = left();
    for (name, content) in [
        ("b", "2"),
        ("a", "1"),
        ("c/d", "3"),
        ("c/e/f", "4"),
        ("B", "0"),
    ] {
        let path = cwd.path().join("out").join(name);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("room");
        fs::write(path, content).expect("room");
    }
    fs::create_dir(cwd.path().join("out/empty")).expect("room");
    let run = fs::Permissions::from_mode(0o744);
    fs::set_permissions(cwd.path().join("out/a"), run).expect("ours");
    let gathered = gather(&cwd, &["out/", "report.json"]);
    let came = [
        "out/B=0",
        "out/a=1",
        "out/b=2",
        "out/c/d=3",
        "out/c/e/f=4",
        "report.json={}",
    ];
    assert_eq!(told(&gathered), (came.map(str::to_owned).to_vec(), vec![]));
    let executable = gathered.artifacts.iter().filter(|file| file.executable);
    assert_eq!(
        executable
            .map(|file| file.path.as_str())
            .collect::<Vec<_>>(),
        ["out/a"]
    );
}

#[test]
fn what_is_not_there_or_of_another_kind_is_told_by_its_reason() {
    let cwd = left();
    for (wanted, reason) in [
        ("nothing", LeftOutReason::Missing),
        ("nothing/", LeftOutReason::Missing),
        ("report.json/below", LeftOutReason::Missing),
        ("report.json/", LeftOutReason::NotAFolder),
        ("out", LeftOutReason::NotARegularFile),
        ("out/", LeftOutReason::Empty),
    ] {
        assert_eq!(reasons(&gather(&cwd, &[wanted])), only(wanted, reason));
    }
}

#[test]
fn no_link_is_followed_wherever_it_leads() {
    let cwd = left();
    let at = |name: &str| cwd.path().join(name);
    symlink("/etc/passwd", at("passwd")).expect("room");
    symlink("report.json", at("alias")).expect("room");
    symlink("/etc", at("etc")).expect("room");
    symlink("..", at("up")).expect("room");
    symlink("/proc/self/fd/0", at("magic")).expect("room");
    symlink("/proc/self/root", at("root")).expect("room");
    for wanted in [
        "passwd",
        "alias",
        "etc/",
        "etc/passwd",
        "up/",
        "magic",
        "root/etc/passwd",
    ] {
        assert_eq!(
            reasons(&gather(&cwd, &[wanted])),
            only(wanted, LeftOutReason::Link)
        );
    }
    symlink("/etc/passwd", at("out/passwd")).expect("room");
    symlink("/", at("out/root")).expect("room");
    let expected = ["out/passwd", "out/root"].map(|path| (path.to_owned(), "link"));
    assert_eq!(reasons(&gather(&cwd, &["out/"])), expected);
}

#[test]
fn another_mount_is_not_entered() {
    // /proc lies on a mount of its own on every host.
    let gathered = gather_within(Path::new("/"), &["proc/self/status", "proc/"], &CAPS);
    let expected = ["proc/self/status", "proc/"].map(|path| (path.to_owned(), "link"));
    assert_eq!(reasons(&gathered), expected);
}

#[test]
fn pipes_and_sockets_are_left_out_and_nobody_waits_for_them() {
    let cwd = left();
    let at = |name: &str| cwd.path().join(name);
    let mode = Mode::from_bits_truncate(0o644);
    mknod(&at("pipe"), SFlag::S_IFIFO, mode, 0).expect("room");
    mknod(&at("out/pipe"), SFlag::S_IFIFO, mode, 0).expect("room");
    let _listener = UnixListener::bind(at("socket")).expect("room");
    for wanted in ["pipe", "socket"] {
        let expected = only(wanted, LeftOutReason::NotARegularFile);
        assert_eq!(reasons(&gather(&cwd, &[wanted])), expected);
    }
    for wanted in ["pipe/", "socket/"] {
        assert_eq!(
            reasons(&gather(&cwd, &[wanted])),
            only(wanted, LeftOutReason::NotAFolder)
        );
    }
    let expected = only("out/pipe", LeftOutReason::NotARegularFile);
    assert_eq!(reasons(&gather(&cwd, &["out/"])), expected);
}

#[test]
fn a_file_with_a_second_name_is_left_out_under_both() {
    let cwd = left();
    fs::hard_link(cwd.path().join("report.json"), cwd.path().join("out/same")).expect("room");
    let expected = [
        ("report.json", "several_names"),
        ("out/same", "several_names"),
    ];
    let expected = expected.map(|(path, reason)| (path.to_owned(), reason));
    assert_eq!(reasons(&gather(&cwd, &["report.json", "out/"])), expected);
}

#[test]
fn a_file_above_the_bound_is_left_out_unread_and_what_fits_behind_it_comes() {
    let cwd = left();
    let at = |name: &str| cwd.path().join("out").join(name);
    File::create(at("a-sparse"))
        .and_then(|file| file.set_len(1 << 40))
        .expect("no room is taken");
    fs::write(at("b-most"), vec![b'x'; 1000]).expect("room");
    fs::write(at("c-second"), vec![b'x'; 501]).expect("room");
    fs::write(at("d-fits"), vec![b'x'; 500]).expect("room");
    let gathered = gather(&cwd, &["out/"]);
    let came: Vec<_> = gathered
        .artifacts
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(came, ["out/b-most", "out/d-fits"]);
    let (_, left_out) = told(&gathered);
    let expected = ["out/a-sparse", "out/c-second"].map(|path| (path.to_owned(), "too_large"));
    assert_eq!(left_out, expected);
}

#[test]
fn a_tree_of_ten_thousand_levels_is_left_where_it_gets_too_deep() {
    let cwd = left();
    // No path is that long: it is built from the inside.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let mut folder = open(&cwd.path().join("out"), flags, Mode::empty()).expect("a folder");
    for _ in 0..10_000 {
        mkdirat(&folder, "d", Mode::S_IRWXU).expect("room");
        folder = nix::fcntl::openat(&folder, "d", flags, Mode::empty()).expect("just made");
    }
    let gathered = gather(&cwd, &["out/"]);
    let deepest = format!("out/{}", "d/".repeat(MOST_LEVELS + 1));
    assert_eq!(reasons(&gathered), only(&deepest, LeftOutReason::TooDeep));
    let deep = "d/".repeat(500);
    let wanted = format!("out/{deep}");
    assert_eq!(
        reasons(&gather_within(cwd.path(), &[&format!("{wanted}x")], &CAPS)),
        only(&format!("{wanted}x"), LeftOutReason::Missing)
    );
    unlink_from_the_inside(cwd.path());
}

/// A tree of this depth is more than what removes temporary folders can do.
fn unlink_from_the_inside(cwd: &Path) {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let (here, there) = (cwd.join("out"), cwd.join("next"));
    while let Ok(folder) = open(&here.join("d"), flags, Mode::empty()) {
        let below = nix::fcntl::openat(&folder, "d", flags, Mode::empty());
        if below.is_ok() {
            fs::rename(here.join("d/d"), &there).expect("ours");
        }
        fs::remove_dir(here.join("d")).expect("it is empty");
        if below.is_ok() {
            fs::rename(&there, here.join("d")).expect("ours");
        }
    }
}

#[test]
fn a_folder_with_more_than_is_looked_at_is_left_out_whole_and_the_others_come() {
    let cwd = left();
    for number in 0..2000 {
        fs::create_dir_all(cwd.path().join("out/many")).expect("room");
        File::create(cwd.path().join(format!("out/many/{number}"))).expect("room");
    }
    fs::write(cwd.path().join("out/z"), "z").expect("room");
    let gathered = gather(&cwd, &["out/", "report.json"]);
    let came = ["out/z=z", "report.json={}"].map(str::to_owned).to_vec();
    let left_out = only("out/many/", LeftOutReason::TooMany);
    assert_eq!(told(&gathered), (came, left_out));
}

#[test]
fn folders_that_hold_too_much_together_are_left_out_from_there_on() {
    let cwd = left();
    for (folder, count) in [("a", 30), ("b", 15), ("c", 30)] {
        for number in 0..count {
            let folder = cwd.path().join("out").join(folder);
            fs::create_dir_all(&folder).expect("room");
            File::create(folder.join(format!("{number:02}"))).expect("room");
        }
    }
    // Three folders, then 30 and 15 of 50: two are left for the third folder.
    let gathered = gather(&cwd, &["out/", "out2/", "report.json"]);
    assert_eq!(gathered.artifacts.len(), 46);
    let (_, left_out) = told(&gathered);
    let expected = [("out/c/", "too_many"), ("out2/", "missing")];
    assert_eq!(
        left_out,
        expected.map(|(path, reason)| (path.to_owned(), reason))
    );
}

#[test]
fn names_that_cannot_be_told_are_told_of_by_their_folder_once() {
    let cwd = left();
    let at = |name: &[u8]| cwd.path().join("out").join(OsStr::from_bytes(name));
    for name in [&b"\xff\xfe"[..], b"\xc3\x28", b"fine\n\\x"] {
        fs::write(at(name), "x").expect("room");
    }
    let gathered = gather(&cwd, &["out/"]);
    let expected = (
        vec!["out/fine\n\\x=x".to_owned()],
        only("out/", LeftOutReason::BadName),
    );
    assert_eq!(told(&gathered), expected);
    // A path that is longer than any that could be asked for.
    let mut folder = cwd.path().join("out");
    for _ in 0..5 {
        folder.push("x".repeat(250));
        fs::create_dir(&folder).expect("room");
    }
    let gathered = gather(&cwd, &["out/"]);
    let longest = format!("out/{0}/{0}/{0}/{0}/", "x".repeat(250));
    let (_, left_out) = told(&gathered);
    let bad = |path: String| (path, "bad_name");
    assert_eq!(left_out, [bad(longest), bad("out/".to_owned())]);
}

#[test]
fn what_is_wanted_in_words_that_no_worker_writes_opens_nothing_outside() {
    let cwd = left();
    let outside = cwd.path().join("outside");
    fs::write(&outside, "secret").expect("room");
    let inside = cwd.path().join("out");
    for path in [
        &b"../outside"[..],
        b"/etc/passwd",
        b"./../outside",
        b"",
        b".",
    ] {
        let mut asked = artifacts::wanted(&[], &CAPS);
        asked.push(1);
        let length = u32::try_from(path.len() + 1).expect("short");
        asked.extend(length.to_le_bytes());
        asked.extend([path, &[0]].concat());
        let folder = open(&inside, OFlag::O_PATH, Mode::empty()).expect("a folder");
        let mut stream = tempfile::tempfile().expect("room");
        let out = stream.try_clone().expect("a descriptor");
        bring_out(&asked, folder.as_fd(), out).expect("it is answered");
        let mut bytes = Vec::new();
        stream.rewind().expect("a file");
        stream.read_to_end(&mut bytes).expect("a file");
        assert!(bytes.len() < 50, "{path:?} brought {bytes:?}");
    }
}
