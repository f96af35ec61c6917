//! Properties: mutated messages never break the decoder, and what is written reads back.

use super::super::*;
use super::{FULL, results};
use crate::artifact::{ArtifactPath, LeftOutReason};
use crate::blob::Blob;
use crate::job::{EpochMs, Job, JobFile, JobFileKind, JobId, ProfileName, RelativePath};
use crate::limits::LimitsRequest;
use crate::result::JobResult;
use crate::units::Elapsed;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

fn any_blob() -> impl Strategy<Value = Blob> {
    prop_oneof![
        any::<String>().prop_map(Blob::new),
        any::<Vec<u8>>().prop_map(Blob::new)
    ]
}

fn any_files() -> impl Strategy<Value = Vec<JobFile>> {
    // Two levels of letters: enough to meet, and what meets is left out below.
    let kind = prop_oneof![
        Just(JobFileKind::Directory),
        (any_blob(), any::<bool>()).prop_map(|(content, executable)| JobFileKind::File {
            content,
            executable
        }),
    ];
    btree_map("[a-f]{1,2}", kind, 0..5).prop_map(|files| {
        files
            .into_iter()
            .map(|(path, kind)| JobFile {
                path: RelativePath::parse(&path).expect("plain"),
                kind,
            })
            .collect()
    })
}

fn any_wanted() -> impl Strategy<Value = Vec<ArtifactPath>> {
    // One letter and no more below it: none of them meets another.
    let paths = btree_map("[a-f](/[^/\u{0}]{3,9})?", any::<bool>(), 0..4);
    paths.prop_map(|paths| {
        let mut wanted: Vec<ArtifactPath> = Vec::new();
        for (path, folder) in paths {
            let path = if folder { format!("{path}/") } else { path };
            let path = ArtifactPath::parse(&path).expect("plain");
            if !wanted.iter().any(|other| other.meets(&path)) {
                wanted.push(path);
            }
        }
        wanted
    })
}

fn any_job() -> impl Strategy<Value = Job> {
    let labels = (
        of("[ -~]{1,20}"),
        of("\\PC{1,20}"),
        of("[ -~]{1,20}"),
        any_wanted(),
    );
    let limit = || of(1..=u64::MAX);
    let limits = (limit(), limit(), of(any::<u64>()), limit());
    let texts = (
        vec("[^\u{0}]{0,9}", 0..4),
        btree_map("[A-Z]{1,3}_X", "[^\u{0}]{0,9}", 0..4),
    );
    let blobs = (any_blob(), of(any_blob()), any_files());
    let deadline = of(0..=253_402_207_200_000_u64);
    (labels, limits, texts, blobs, any::<bool>(), deadline).prop_map(
        |(labels, limits, texts, (code, stdin, files), flag, deadline)| Job {
            id: JobId::parse("j:1").expect("an id"),
            runtime: Name::parse("python").expect("a name"),
            code: Some(code),
            python_path: files.iter().map(|file| file.path.clone()).take(2).collect(),
            files,
            artifacts: labels.3,
            argv: texts.0,
            env: texts
                .1
                .into_iter()
                .filter(|(name, _)| !is_steering(name))
                .collect(),
            stdin,
            globals: flag.then(|| "{\"a\": 1e999}".to_owned()),
            limits: LimitsRequest {
                cpu_ms: limits.0,
                memory_bytes: limits.1,
                file_bytes: limits.2,
                stack_bytes: limits.3,
                ..LimitsRequest::default()
            },
            limit_profile: labels
                .2
                .map(|name| ProfileName::parse(&name).expect("printable")),
            slug: labels.0,
            pool: Name::parse(if flag { "default" } else { "gpu-2" }).expect("a name"),
            lane: if flag { Lane::Bulk } else { Lane::Interactive },
            batch: labels.1.filter(|text| crate::job::is_label(text)),
            deadline: deadline.map(EpochMs),
            grade: None,
        },
    )
}

fn any_result() -> impl Strategy<Value = JobResult> {
    let span = || (0..1_u64 << 50).prop_map(Elapsed::from_micros);
    (
        of(any_blob()),
        of(any_blob()),
        of(any::<i32>()),
        of(any::<String>()),
        span(),
        of(span()),
        (btree_map("[a-f]{1,3}", any_blob(), 0..4), any_wanted()),
    )
        .prop_map(
            |(stdout, stderr, exit_code, globals, spent, queued, left)| {
                let mut result = results::full();
                result.stdout = stdout;
                result.stderr = stderr;
                result.exit_code = exit_code;
                result.globals = globals;
                result.artifacts = left
                    .0
                    .into_iter()
                    .map(|(path, content)| results::artifact(&path, content))
                    .collect();
                result.artifacts_left_out = left
                    .1
                    .iter()
                    .zip(LeftOutReason::ALL.iter().cycle())
                    .map(|(path, reason)| results::left_out(&path.to_string(), *reason))
                    .collect();
                result.usage = result.usage.map(|usage| crate::result::Usage {
                    cpu: spent,
                    ..usage
                });
                result.timing = result
                    .timing
                    .map(|timing| crate::result::Timing { queued, ..timing });
                result
            },
        )
}

/// Messages near a valid one: bytes replaced, cut out, doubled, or taken from JSON's own alphabet.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        proptest::sample::select(br#"{}[]",:\0123456789.eE+-truefalsn NaN"#.to_vec()),
    ];
    let edit = (any::<proptest::sample::Index>(), 0..4_u8, byte);
    vec(edit, 0..12).prop_map(|edits| {
        let mut body = FULL.as_bytes().to_vec();
        for (place, kind, byte) in edits {
            if body.is_empty() {
                break;
            }
            let place = place.index(body.len());
            match kind {
                0 => body[place] = byte,
                1 => body.truncate(place),
                2 => body.insert(place, byte),
                _ => {
                    let tail = body.split_off(place);
                    body.extend_from_slice(&tail);
                    body.extend_from_slice(&tail);
                }
            }
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn mutated_messages_are_taken_or_refused_in_bounded_words(body in mutated()) {
        let hint = DecodeHint { message_id: Some("exam-7:alice.1"), ..DecodeHint::default() };
        match decode_job(&body, &hint, &WireCaps::default()) {
            Ok(job) => {
                let again = decode_job(&encode_job(&job), &hint, &WireCaps::default());
                prop_assert_eq!(again, Ok(job));
            }
            Err(refused) => {
                prop_assert!(refused.rejection.message.len() < 1000, "{}", refused);
                prop_assert!(!refused.rejection.message.contains(char::is_control), "{}", refused);
            }
        }
        // Whatever it is, reading it as a result must not break either.
        prop_assert!(decode_result(&body).is_err());
    }

    #[test]
    fn any_bytes_are_refused(body: Vec<u8>) {
        prop_assert!(decode_job(&body, &DecodeHint::default(), &WireCaps::default()).is_err());
    }

    #[test]
    fn jobs_read_back_as_they_were_written(job in any_job()) {
        let body = encode_job(&job);
        let read = decode_job(&body, &DecodeHint::default(), &WireCaps::default());
        prop_assert_eq!(read, Ok(job));
    }

    #[test]
    fn results_read_back_as_they_were_written(result in any_result()) {
        let encoded = encode_result(&result, 1 << 20);
        prop_assert_eq!(decode_result(&encoded.body), Ok(result));
    }
}
