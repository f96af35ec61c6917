//! The service's live tests of its sandbox, line by line, as a caller sees them.

use serde_json::{Value, json};

use super::behaviours;
use crate::Behaviour;
use crate::gateway::{Gateway, SOON};

pub(crate) const ALL: &[Behaviour] = behaviours![
    no_variable_of_ours_is_seen,
    its_own_sandbox_can_be_listed,
    files_can_be_written_in_tmp,
    files_can_be_deleted_in_tmp,
    a_large_file_cannot_be_written,
    files_of_the_system_cannot_be_read,
    folders_of_the_system_cannot_be_listed,
    nothing_can_be_written_outside,
    every_entry_of_the_path_can_be_read,
    globals_come_in_and_go_out,
    a_function_can_be_defined,
    what_cannot_be_said_in_json_is_left_out,
    an_exception_is_told_to_the_byte_after_what_was_written_before,
    code_that_does_not_compile_is_told_with_the_wrappers_frame,
    a_large_allocation_is_a_memory_error,
    no_http_call_can_be_made,
    no_name_can_be_resolved,
    no_socket_of_the_internet_can_be_made,
    a_socket_in_tmp_can_be_bound_and_none_outside,
    forks_run_out,
    no_program_can_be_started,
    processes_cannot_be_listed,
    code_that_takes_too_long_is_killed_and_told_so,
    nothing_helps_against_the_kill,
    sys_exit_with_0_is_corrupted_output,
    what_is_printed_changes_nothing,
];

const DENIED: &str = "PermissionError: [Errno 13] Permission denied";

fn fails_with(gateway: &Gateway, code: &str, words: &str) {
    let emsg = gateway.fails(code);
    assert!(emsg.contains(words), "{code}: {emsg}");
}

fn no_variable_of_ours_is_seen(gateway: &Gateway) {
    let left = gateway.left("import os\nnames = sorted(os.environ)");
    let names = left["names"].as_array().expect("a list");
    assert!(names.contains(&json!("PATH")), "{names:?}");
    for ours in [
        "DEBIAN_FRONTEND",
        "DJANGO_SETTINGS_MODULE",
        "JAILFLEET__AMQP__URI",
        "CARGO",
    ] {
        assert!(!names.contains(&json!(ours)), "{names:?}");
    }
}

fn its_own_sandbox_can_be_listed(gateway: &Gateway) {
    let left = gateway.left("import os\nls = sorted(os.listdir('.'))");
    assert_eq!(left["ls"], json!(["jailed_code", "tmp"]));
}

fn files_can_be_written_in_tmp(gateway: &Gateway) {
    let code = "with open('tmp/x.txt', 'w') as f:\n  f.write('hi')\nwith open('tmp/x.txt') as f:\n  read = f.read()";
    assert_eq!(gateway.left(code)["read"], "hi");
}

fn files_can_be_deleted_in_tmp(gateway: &Gateway) {
    let code =
        "import os\nopen('tmp/x.txt', 'w').close()\nos.remove('tmp/x.txt')\nls = os.listdir('tmp')";
    assert_eq!(gateway.left(code)["ls"], json!([]));
}

fn a_large_file_cannot_be_written(gateway: &Gateway) {
    let code = "with open('tmp/x', 'wb') as f:\n  f.seek(1 << 30)\n  f.write(b'x')";
    fails_with(gateway, code, "OSError: [Errno 27] File too large");
}

fn files_of_the_system_cannot_be_read(gateway: &Gateway) {
    for path in ["/etc/hosts", "/proc/1/cmdline"] {
        let words = format!("{DENIED}: \\'{path}\\'");
        fails_with(gateway, &format!("open('{path}').read()"), &words);
    }
}

fn folders_of_the_system_cannot_be_listed(gateway: &Gateway) {
    for path in ["/sys", "/", "/tmp", "../"] {
        let words = format!("{DENIED}: \\'{path}\\'");
        fails_with(gateway, &format!("import os\nos.listdir('{path}')"), &words);
    }
}

fn nothing_can_be_written_outside(gateway: &Gateway) {
    for path in ["/tmp/apitest.txt", "../apitest.txt", "apitest.txt"] {
        let words = format!("{DENIED}: \\'{path}\\'");
        fails_with(gateway, &format!("open('{path}', 'w')"), &words);
    }
}

fn every_entry_of_the_path_can_be_read(gateway: &Gateway) {
    let code = "import os, sys\nread = 0\nfor entry in sys.path:\n  if os.path.isdir(entry):\n    \
                read += bool(os.listdir(entry) or True)\n  elif os.path.exists(entry):\n    \
                open(entry, 'rb').read(1)";
    assert!(gateway.left(code)["read"].as_i64() > Some(1));
}

fn globals_come_in_and_go_out(gateway: &Gateway) {
    let answer = gateway.run(
        "out = input * 2\nnested[0].append(3)",
        &json!({ "input": 21, "nested": [[1]] }),
    );
    let expected = json!({ "input": 21, "nested": [[1, 3]], "out": 42 });
    assert_eq!(answer["globals_dict"], expected);
}

fn a_function_can_be_defined(gateway: &Gateway) {
    let code = "def doubler(x):\n    return x * 2\n\nout = doubler(input)";
    let answer = gateway.run(code, &json!({ "input": 50 }));
    assert_eq!(answer["globals_dict"], json!({ "input": 50, "out": 100 }));
}

fn what_cannot_be_said_in_json_is_left_out(gateway: &Gateway) {
    assert_eq!(
        gateway.left("out1 = object(); out2 = 'hi'"),
        json!({ "out2": "hi" })
    );
}

fn an_exception_is_told_to_the_byte_after_what_was_written_before(gateway: &Gateway) {
    let code = "import sys\nprint('not seen')\nprint('hello', file=sys.stderr)\nx = 2\n1/0";
    let answer = gateway.run(code, &json!({ "x": 1 }));
    assert_eq!(answer["globals_dict"], json!({ "x": 1 }));
    let expected = "Couldn't execute jailed code: stdout: b'', stderr: b'hello\\nTraceback (most recent \
                    call last):\\n  File \"/tmp/codejail-jailfleet/jailed_code\", line 19, in <module>\\n    \
                    exec(code, g_dict)\\n  File \"<string>\", line 5, in <module>\\nZeroDivisionError: \
                    division by zero\\n' with status code: 1";
    assert_eq!(answer["emsg"], expected);
}

fn code_that_does_not_compile_is_told_with_the_wrappers_frame(gateway: &Gateway) {
    let emsg = gateway.fails("x = 1\nx +");
    let words = "exec(code, g_dict)\\n  File \"<string>\", line 2\\n";
    assert!(
        emsg.contains(words) && emsg.contains("SyntaxError: invalid syntax"),
        "{emsg}"
    );
}

fn a_large_allocation_is_a_memory_error(gateway: &Gateway) {
    let code = "all = []\nfor i in range(1 << 15):\n  all.append(bytearray(1 << 15))";
    fails_with(gateway, code, "MemoryError");
}

fn no_http_call_can_be_made(gateway: &Gateway) {
    let code = "import urllib.request\nurllib.request.urlopen('http://example.net/')";
    fails_with(
        gateway,
        code,
        "<urlopen error [Errno -3] Temporary failure in name resolution>",
    );
}

fn no_name_can_be_resolved(gateway: &Gateway) {
    let code = "import socket\nsocket.gethostbyname('example.net')";
    fails_with(
        gateway,
        code,
        "socket.gaierror: [Errno -2] Name or service not known",
    );
}

fn no_socket_of_the_internet_can_be_made(gateway: &Gateway) {
    for (family, kind) in [
        ("AF_INET", "SOCK_STREAM"),
        ("AF_INET", "SOCK_DGRAM"),
        ("AF_INET6", "SOCK_STREAM"),
        ("AF_INET6", "SOCK_DGRAM"),
        ("AF_NETLINK", "SOCK_RAW"),
    ] {
        let code = format!("import socket\nsocket.socket(socket.{family}, socket.{kind})");
        fails_with(gateway, &code, DENIED);
    }
}

fn a_socket_in_tmp_can_be_bound_and_none_outside(gateway: &Gateway) {
    let bind = |path: &str| {
        format!(
            "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('{path}')\nbound = 1\ndel s"
        )
    };
    assert_eq!(gateway.left(&bind("./tmp/socket"))["bound"], 1);
    fails_with(gateway, &bind("/tmp/socket"), DENIED);
}

fn forks_run_out(gateway: &Gateway) {
    let code = "import os, time\nfor i in range(1000):\n  if os.fork() == 0:\n    time.sleep(5)\n    os._exit(0)";
    fails_with(
        gateway,
        code,
        "BlockingIOError: [Errno 11] Resource temporarily unavailable",
    );
}

fn no_program_can_be_started(gateway: &Gateway) {
    for program in [
        "'/usr/bin/true'",
        "'/usr/bin/ls'",
        "sys.executable",
        "'python3'",
        "'ps'",
    ] {
        let code =
            format!("import subprocess, sys\nsubprocess.check_output([{program}, '--version'])");
        let emsg = gateway.fails(&code);
        let words = ["BlockingIOError: [Errno 11]", DENIED];
        assert!(
            words.iter().any(|words| emsg.contains(words)),
            "{program}: {emsg}"
        );
    }
}

fn processes_cannot_be_listed(gateway: &Gateway) {
    fails_with(gateway, "import os\nos.listdir('/proc')", DENIED);
}

const KILLED: &str = "Couldn't execute jailed code: stdout: b'', stderr: b'' with status code: -9";

#[expect(
    clippy::disallowed_methods,
    reason = "how long it takes is what is asked for"
)]
fn code_that_takes_too_long_is_killed_and_told_so(gateway: &Gateway) {
    let started = std::time::Instant::now();
    assert_eq!(
        gateway.fails("print('seen?')\nimport time\ntime.sleep(30)"),
        KILLED
    );
    assert!(started.elapsed() < SOON);
}

fn nothing_helps_against_the_kill(gateway: &Gateway) {
    let code = "import signal, time\nfor s in (signal.SIGINT, signal.SIGTERM, signal.SIGXCPU):\n  \
                signal.signal(s, lambda *_: None)\nwhile True:\n  time.sleep(1)";
    assert_eq!(gateway.fails(code), KILLED);
}

fn sys_exit_with_0_is_corrupted_output(gateway: &Gateway) {
    let answer: Value = gateway.run("import sys\nx = 2\nsys.exit(0)", &json!({ "x": 1 }));
    assert_eq!(answer["emsg"], "Sandboxed code produced corrupted stdout.");
    assert_eq!(answer["globals_dict"], json!({ "x": 1 }));
}

fn what_is_printed_changes_nothing(gateway: &Gateway) {
    assert_eq!(
        gateway.left("print('{\"x\": 1}')\nx = 2"),
        json!({ "x": 2 })
    );
    // Nor is what goes past Python; there it would have been corrupted output.
    let code = "import os, sys\nos.write(1, b'[')\nsys.__stdout__.write(']')\nx = 2";
    assert_eq!(gateway.left(code), json!({ "x": 2 }));
}
