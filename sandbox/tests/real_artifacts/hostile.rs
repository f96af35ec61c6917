//! Folders that a program prepared for whoever reads them.

use super::{survive, told};
use crate::fleet::{CAPS, Fleet};
use crate::job::{Seen, python};
use jailfleet::artifact::MOST_LEVELS;
use jailfleet::evidence::{Acted, End};
use jailfleet::limits::Limits;
use jailfleet::units::{ByteCount, Count, FileBytes, Millis};

/// Runs a python program that must come to its end.
fn left_by(code: &str, wanted: &[&str]) -> Seen {
    let seen = survive(&python(code).wanting(wanted));
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    seen
}

#[test]
fn no_link_leads_a_collector_out_of_the_working_directory() {
    let code = "
import os
os.chdir('tmp')
os.mkdir('out')
for name, to in [('passwd', '/etc/passwd'), ('etc', '/etc'), ('up', '..'), ('loop', 'loop'),
                 ('magic', '/proc/self/fd/2'), ('root', '/proc/1/root'), ('code', '../jailed_code')]:
    os.symlink(to, name)
    os.symlink(to, 'out/' + name)
";
    let wanted = [
        "tmp/passwd",
        "tmp/etc/passwd",
        "tmp/etc/",
        "tmp/up/",
        "tmp/loop",
        "tmp/magic",
        "tmp/root/",
        "tmp/code",
        "tmp/out/",
    ];
    let seen = left_by(code, &wanted);
    let direct = wanted.iter().take(8).map(|path| format!("{path}: link"));
    let names = ["code", "etc", "loop", "magic", "passwd", "root", "up"];
    let met = names.map(|name| format!("tmp/out/{name}: link"));
    assert_eq!(told(&seen), direct.chain(met).collect::<Vec<_>>());
}

#[test]
fn pipes_sockets_and_locked_files_are_left_out_at_once() {
    let code = "
import fcntl, os, socket, struct
os.chdir('tmp')
os.mkdir('out')
os.chdir('out')
os.mkfifo('pipe')
try: socket.socket(socket.AF_UNIX).bind('socket')
except OSError: open('socket', 'w')
for make in [lambda: os.mknod('device', 0o20666, os.makedev(1, 3)),
             lambda: os.mknod('disk', 0o60666, os.makedev(8, 0))]:
    try: make()
    except OSError: pass
    else: print('a device')
open('locked', 'w').write('secret')
os.chmod('locked', 0)
os.mkdir('shut')
open('shut/in', 'w')
os.chmod('shut', 0)
open('frozen', 'w').write('ice')
file = os.open('frozen', os.O_RDONLY)
try: fcntl.ioctl(file, 0x40086602, struct.pack('l', 0x10))
except OSError: pass
else: print('immutable')
";
    let seen = left_by(code, &["tmp/out/", "tmp/out2", "jailed_code/"]);
    assert_eq!(seen.out(), "", "something could be made");
    let mut told = told(&seen);
    // Where Landlock or the filter keeps programs from binding a name there is a file in its place.
    told.retain(|line| !line.starts_with("tmp/out/socket"));
    let expected = [
        "tmp/out/frozen=ice",
        "tmp/out/locked: unreadable",
        "tmp/out/pipe: not_a_regular_file",
        "tmp/out/shut: unreadable",
        "tmp/out2: missing",
        "jailed_code/: not_a_folder",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_folder_that_its_own_user_shut_is_left_out() {
    let code = "import os\nos.mkdir('tmp/d')\nopen('tmp/d/x', 'w')\nos.chmod('tmp', 0)";
    let seen = left_by(code, &["tmp/d/x", "tmp/d/", "jailed_code"]);
    let lines = told(&seen);
    assert_eq!(lines[1..], ["tmp/d/x: unreadable", "tmp/d/: unreadable"]);
    assert!(lines[0].starts_with("jailed_code=import os"), "{lines:?}");
}

#[test]
fn a_second_name_for_a_file_of_the_job_is_no_way_to_it() {
    let code = "
import os
for name in ['jailed_code', 'tmp/own']:
    open('tmp/own', 'a').write('x')
    try: os.link(name, 'tmp/again-' + os.path.basename(name))
    except OSError: print(name)
";
    let seen = left_by(code, &["tmp/", "jailed_code"]);
    let own = ["tmp/again-own: several_names", "tmp/own: several_names"];
    let lines = told(&seen);
    if seen.out() == "jailed_code\n" {
        // The kernel lets nobody link what he may not write.
        assert_eq!(lines[1..], own);
    } else {
        let own_code = ["tmp/again-jailed_code: several_names"];
        let expected: Vec<_> = own_code.iter().chain(&own).copied().collect();
        assert_eq!(lines[..3], expected);
        assert_eq!(lines[3], "jailed_code: several_names");
    }
}

#[test]
fn names_that_are_no_text_are_told_of_by_their_folder() {
    let code = "
import os
os.mkdir('tmp/out')
for name in [b'\\xff\\xfe', b'\\xc3(', b'a\\nb', b'-rf *', b'\\xe2\\x80\\xaetxt']:
    open(b'tmp/out/' + name, 'w').write('x')
";
    let seen = left_by(code, &["tmp/out/"]);
    let expected = [
        "tmp/out/-rf *=x",
        "tmp/out/a\nb=x",
        "tmp/out/\u{202e}txt=x",
        "tmp/out/: bad_name",
    ];
    assert_eq!(told(&seen), expected);
}

#[test]
fn sparse_and_large_files_are_left_out_by_their_size_and_not_read() {
    let code = "
import os
os.mkdir('tmp/out')
with open('tmp/out/tera', 'wb') as file:
    try: file.truncate(1 << 40)
    except OSError: file.truncate(8 << 20)
with open('tmp/out/most', 'wb') as file: file.write(b'x' * 100_000)
for number in range(3):
    with open(f'tmp/out/n{number}', 'wb') as file: file.write(b'x' * 90_000)
";
    let seen = left_by(code, &["tmp/out/"]);
    let came: Vec<_> = seen
        .gathered
        .artifacts
        .iter()
        .map(|one| one.path.as_str())
        .collect();
    assert_eq!(came, ["tmp/out/most", "tmp/out/n0", "tmp/out/n1"]);
    let left_out: Vec<_> = told(&seen).split_off(3);
    assert_eq!(
        left_out,
        ["tmp/out/n2: too_large", "tmp/out/tera: too_large"]
    );
}

/// As large as a keeper may let a file be.
const TERABYTE: &str = "
[runtimes.python.ceiling]
file_bytes = 1099511627776
";

#[test]
fn a_sparse_file_of_a_terabyte_costs_nothing() {
    let mut fleet = Fleet::configured(1, TERABYTE);
    let code = "open('tmp/tera', 'wb').truncate((1 << 40) - 1)\nopen('tmp/a', 'w').write('x')";
    let job = python(code).limits(|limits| limits.file_bytes = FileBytes::new(1 << 40));
    let seen = fleet.run(&job.wanting(&["tmp/"]));
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    assert_eq!(told(&seen), ["tmp/a=x", "tmp/tera: too_large"]);
    fleet.is_unharmed();
    fleet.stop();
}

/// Chains of a hundred, each put below the next one: in a deep folder Landlock makes each step slow.
const TEN_THOUSAND_LEVELS: &str = "
import os
os.chdir('tmp')
os.mkdir('out')
for number in range(100):
    os.mkdir('next')
    at = os.open('next', os.O_RDONLY)
    for _ in range(99):
        os.mkdir('d', dir_fd=at)
        below = os.open('d', os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    if number > 0: os.rename('tree', 'd', dst_dir_fd=at)
    os.close(at)
    os.rename('next', 'tree')
os.rename('tree', 'out/d')
";

fn many_files(limits: &mut Limits) {
    limits.cpu_ms = Millis::new(60_000).expect("above zero");
    limits.wall_ms = Millis::new(120_000).expect("above zero");
    limits.disk_files = Count::new(16_384).expect("above zero");
}

#[test]
fn a_tree_of_ten_thousand_levels_is_left_where_it_gets_too_deep() {
    let job = python(TEN_THOUSAND_LEVELS).limits(many_files);
    let seen = survive(&job.wanting(&["tmp/out/"]));
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    let deepest = format!("tmp/out/{}: too_deep", "d/".repeat(MOST_LEVELS + 1));
    assert_eq!(told(&seen), [deepest]);
}

/// A host whose keeper lets python jobs have as many files as they like.
const MILLION: &str = "
[runtimes.python.ceiling]
memory_bytes = 4294967296
disk_files = 1100000
[warden]
sweep_timeout_ms = 60000
";

#[test]
fn a_million_entries_are_looked_at_no_further_than_allowed() {
    let mut fleet = Fleet::configured(1, MILLION);
    let code = "
import os
os.mkdir('tmp/out')
for folder in range(1000):
    os.mkdir(f'tmp/out/{folder}')
    at = os.open(f'tmp/out/{folder}', os.O_RDONLY)
    for name in range(1000): os.mknod(str(name), dir_fd=at)
    os.close(at)
os.mkdir('tmp/flat')
for name in range(50_000): os.mknod(f'tmp/flat/{name}')
";
    let job = python(code).limits(|limits| {
        many_files(limits);
        limits.memory_bytes = ByteCount::new(4 << 30).expect("above zero");
        limits.disk_files = Count::new(1_100_000).expect("above zero");
    });
    let seen = fleet.run(&job.wanting(&["tmp/out/", "tmp/flat/", "jailed_code"]));
    assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
    let lines = told(&seen);
    let expected = ["tmp/out/: too_many", "tmp/flat/: too_many"];
    assert_eq!(lines[1..], expected, "{lines:?}");
    assert!(lines[0].starts_with("jailed_code="), "{lines:?}");
    assert!(lines.len() <= CAPS.entries);
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn nobody_is_left_who_could_change_a_file_while_it_is_read() {
    // A process that outlives its parent swaps the file for a link and back, as fast as it can.
    let code = "
import os
open('tmp/file', 'w').write('mine')
os.symlink('/etc/passwd', 'tmp/link')
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1); os.close(2)
        while True:
            os.rename('tmp/file', 'tmp/spare'); os.rename('tmp/link', 'tmp/file')
            os.rename('tmp/file', 'tmp/link'); os.rename('tmp/spare', 'tmp/file')
    os._exit(0)
os.wait()
";
    let mut fleet = Fleet::start(1);
    for _ in 0..30 {
        let seen = fleet.run(&python(code).wanting(&["tmp/file"]));
        assert_eq!(seen.evidence.end, End::Exited(0), "{}", seen.err());
        let came = told(&seen);
        let possible = ["tmp/file=mine", "tmp/file: link", "tmp/file: missing"];
        assert!(
            came.len() == 1 && possible.contains(&came[0].as_str()),
            "{came:?}"
        );
    }
    fleet.is_unharmed();
    fleet.stop();
}

#[test]
fn a_cancelled_run_leaves_what_it_wrote_until_then() {
    let mut fleet = Fleet::start(1);
    let code =
        "open('tmp/log', 'w').write('x')\nprint('up', flush=True)\nimport time\ntime.sleep(60)";
    let going = fleet.order(0, &python(code).wanting(&["tmp/log"]));
    fleet.wait_for_output(&going);
    let seen = fleet.cancel(going);
    assert_eq!(seen.evidence.acted, Some(Acted::Cancel));
    assert_eq!(told(&seen), ["tmp/log=x"]);
    fleet.is_unharmed();
    fleet.stop();
}
