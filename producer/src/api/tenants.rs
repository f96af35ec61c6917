//! Who may ask: tenants out of a file, told apart by the hashes of their tokens.
//!
//! A token is nowhere kept: what is compared is its SHA-256, and tokens are random, so that a plain
//! hash is as hard to turn back as the token is to guess.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use jailfleet::job::{Lane, Name, ProfileName};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The longest name of a tenant: with the longest id behind it, it still is an id.
const NAME_BYTES: usize = 32;
/// The longest token that is hashed.
const TOKEN_BYTES: usize = 512;
/// The largest rate.
const MOST_PER_S: u32 = 1_000_000;

/// One who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tenant {
    /// The name, which stands before the ids of its jobs.
    pub(super) name: Name,
    tokens: Vec<[u8; 32]>,
    /// The lanes that it may use; the first is that of jobs that name none.
    pub(super) lanes: Vec<Lane>,
    /// The profile of jobs that name none; `None`: the runtime's own limits.
    pub(super) profile: Option<ProfileName>,
    /// The profiles that it may name.
    pub(super) profiles: Vec<ProfileName>,
    /// Whether its jobs may bring limits of their own.
    pub(super) limits: OwnLimits,
    /// Requests a second.
    pub(super) requests_per_s: u32,
    /// Jobs a second.
    pub(super) jobs_per_s: u32,
    /// Requests that wait for results at one time.
    pub(super) waits: usize,
}

/// Whether jobs may bring limits of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnLimits {
    /// Up to the workers' ceiling.
    Allowed,
    /// The profile is all they get.
    Refused,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tenants(Vec<Arc<Tenant>>);

/// Why a file of tenants cannot be used. What is in the file is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TenantsError {
    #[error("line {line}: {what}")]
    Toml { line: usize, what: String },
    #[error("tenants.{tenant}: {what}")]
    Tenant { tenant: String, what: String },
    #[error("no tenant in it: add [tenants.NAME]")]
    Nobody,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tenants: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Whatever it is: an error of the reader would show it.
    token_sha256: toml::Value,
    lanes: Vec<String>,
    profile: String,
    profiles: Vec<String>,
    own_limits: bool,
    requests_per_s: u32,
    jobs_per_s: u32,
    waits: u32,
}

impl Tenants {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn read(text: &str) -> Result<Self, TenantsError> {
        let file: File = toml::from_str(text).map_err(|error| {
            let before = error.span().map_or(0, |span| span.start);
            let before = text.get(..before).unwrap_or_default();
            TenantsError::Toml {
                line: before.matches('\n').count() + 1,
                // Not the whole error, which shows the line.
                what: error.message().to_owned(),
            }
        })?;
        if file.tenants.is_empty() {
            return Err(TenantsError::Nobody);
        }
        let mut seen = BTreeSet::new();
        let mut tenants = Vec::new();
        for (name, entry) in file.tenants {
            let tenant = tenant(&name, entry).and_then(|tenant| {
                let mut new = tenant.tokens.iter().map(|token| seen.insert(*token));
                match new.all(|new| new) {
                    true => Ok(tenant),
                    false => Err("token_sha256: a token is there twice".to_owned()),
                }
            });
            let tenant = tenant.map_err(|what| TenantsError::Tenant { tenant: name, what })?;
            tenants.push(Arc::new(tenant));
        }
        Ok(Self(tenants))
    }

    /// Whose token a request shows; `None` for a token of nobody, and for none.
    pub(super) fn who(&self, headers: &HeaderMap) -> Option<Arc<Tenant>> {
        let shown: [u8; 32] = Sha256::digest(bearer(headers)?.as_bytes()).into();
        let mut found = None;
        // All are looked at, whichever it is: how long it takes tells nothing.
        for tenant in &self.0 {
            for token in &tenant.tokens {
                if bool::from(token.ct_eq(&shown)) {
                    found = Some(Arc::clone(tenant));
                }
            }
        }
        found
    }
}

/// The token of the only `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let fits = (1..=TOKEN_BYTES).contains(&token.len());
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(token)
}

fn tenant(name: &str, entry: Entry) -> Result<Tenant, String> {
    let name = Name::parse(name).map_err(|no| no.message)?;
    if name.as_str().len() > NAME_BYTES {
        return Err(format!("its name has more than {NAME_BYTES} characters"));
    }
    let tokens = entry.token_sha256.as_array().and_then(|tokens| {
        let token = |hex: &toml::Value| token(hex.as_str()?);
        tokens.iter().map(token).collect::<Option<Vec<_>>>()
    });
    let tokens = tokens.ok_or(
        "token_sha256: expected a list of 64 hexadecimal digits each, as sha256sum prints",
    )?;
    if tokens.is_empty() {
        return Err("token_sha256: expected at least one".to_owned());
    }
    let lanes = entry.lanes.iter().map(|lane| Lane::parse(lane));
    let lanes: Vec<Lane> = lanes
        .collect::<Result<_, _>>()
        .map_err(|no| format!("lanes: {}", no.message))?;
    if lanes.is_empty() {
        return Err("lanes: expected at least one of interactive, bulk".to_owned());
    }
    let profile = |key: &str, name: &str| {
        ProfileName::parse(name).map_err(|no| format!("{key}: {}", no.message))
    };
    let profiles = entry.profiles.iter().map(|name| profile("profiles", name));
    let profiles = profiles.collect::<Result<_, _>>()?;
    let own = (!entry.profile.is_empty()).then(|| profile("profile", &entry.profile));
    for (key, rate) in [
        ("requests_per_s", entry.requests_per_s),
        ("jobs_per_s", entry.jobs_per_s),
        ("waits", entry.waits),
    ] {
        if !(1..=MOST_PER_S).contains(&rate) {
            return Err(format!("{key}: expected 1 to {MOST_PER_S}"));
        }
    }
    Ok(Tenant {
        name,
        tokens,
        lanes,
        profile: own.transpose()?,
        profiles,
        limits: if entry.own_limits {
            OwnLimits::Allowed
        } else {
            OwnLimits::Refused
        },
        requests_per_s: entry.requests_per_s,
        jobs_per_s: entry.jobs_per_s,
        waits: usize::try_from(entry.waits).unwrap_or(usize::MAX),
    })
}

fn token(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        let plain = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(pair, 16).ok().filter(|_| plain)?;
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::input::hex;

    /// A tenant's entry with that token, and what else a test wants to say.
    pub(in crate::api) fn entry(name: &str, token: &str, more: &str) -> String {
        let digest = hex(&Sha256::digest(token));
        let usual = [
            ("lanes", "[\"bulk\"]"),
            ("profile", "\"\""),
            ("profiles", "[]"),
            ("own_limits", "false"),
            ("requests_per_s", "100"),
            ("jobs_per_s", "100"),
            ("waits", "4"),
        ];
        let mut text = format!("[tenants.{name}]\ntoken_sha256 = [\"{digest}\"]\n{more}\n");
        for (key, value) in usual {
            if !more.contains(&format!("{key} =")) {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn a_token_is_its_tenants_and_whatever_else_is_shown_is_nobodys() {
        let text = entry("exams", "secret-a", "") + &entry("site", "secret-b", "");
        let tenants = Tenants::read(&text).expect("a good file");
        let who = |values: &[&str]| {
            let who = tenants.who(&headers(values));
            who.map(|tenant| tenant.name.to_string())
        };
        assert_eq!(who(&["Bearer secret-a"]).as_deref(), Some("exams"));
        assert_eq!(who(&["bearer secret-b"]).as_deref(), Some("site"));
        let long = format!("Bearer {}", "x".repeat(600));
        for wrong in [
            &[][..],
            &["Bearer secret-c"],
            &["Bearer "],
            &["Bearer"],
            &["secret-a"],
            &["Basic secret-a"],
            &["Bearer secret-a", "Bearer secret-a"],
            &[&long],
        ] {
            assert_eq!(who(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_mistake_in_a_file_is_told_with_its_place_and_never_with_a_token() {
        for (text, words) in [
            (String::new(), "no tenant"),
            ("tenants = 3\nsecret".to_owned(), "line 2"),
            (entry("Exams", "t", ""), "tenants.Exams: "),
            (entry(&"x".repeat(33), "t", ""), "more than 32 characters"),
            (entry("a", "t", "lanes = [\"fast\"]"), "lanes: "),
            (entry("a", "t", "lanes = []"), "lanes: expected"),
            (entry("a", "t", "waits = 0"), "waits: expected"),
            (entry("a", "t", "jobs_per_s = 0"), "jobs_per_s: expected"),
            (entry("a", "t", "profile = \"\\u0007\""), "profile: "),
            (entry("a", "t", "secret = 1"), "unknown field"),
            (
                entry("a", "t", "") + &entry("b", "t", ""),
                "a token is there twice",
            ),
            (
                "[tenants.a]\ntoken_sha256 = [\"hunter2\"]\nlanes = [\"bulk\"]\nprofile = \"\"\n\
                 profiles = []\nown_limits = true\nrequests_per_s = 1\njobs_per_s = 1\nwaits = 1"
                    .to_owned(),
                "token_sha256: expected a list",
            ),
            (
                entry("a", "t", "")
                    .replacen("[\"", "\"hunter2", 1)
                    .replacen("\"]", "\"", 1),
                "token_sha256: expected",
            ),
        ] {
            let error = Tenants::read(&text).expect_err(words).to_string();
            assert!(error.contains(words), "{error}: {text}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
