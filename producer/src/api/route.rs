//! Which request means what. Pure, and the same table that the OpenAPI document is held against.

use hyper::Method;
use percent_encoding::percent_decode_str;

/// What a request asks for; the texts are out of its path, as they were meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// To run jobs.
    Submit,
    /// How a job stands.
    Job(String),
    /// That a job is wanted no more.
    CancelJob(String),
    /// How a batch stands.
    Batch(String),
    /// That a batch is wanted no more.
    CancelBatch(String),
    /// To hear of each result of a batch.
    Events(String),
    /// The description of all of this.
    OpenApi,
}

/// Every path with its methods, as the OpenAPI document writes them.
pub(super) const ROUTES: &[(&str, &[&str])] = &[
    ("/api/v1/jobs", &["POST"]),
    ("/api/v1/jobs/{id}", &["GET", "DELETE"]),
    ("/api/v1/batches/{batch}", &["GET", "DELETE"]),
    ("/api/v1/batches/{batch}/events", &["GET"]),
    ("/api/v1/openapi.json", &["GET"]),
];

/// Why a request means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// No such path.
    NotFound,
    /// The path has other methods: these.
    Method(&'static [&'static str]),
}

/// Finds what a request means.
///
/// # Errors
/// When there is no such path, or it has no such method.
pub(super) fn find(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let (template, methods, name) = ROUTES
        .iter()
        .find_map(|(template, methods)| Some((*template, *methods, matched(template, path)?)))
        .ok_or(NoRoute::NotFound)?;
    // HEAD is answered like GET, without the body, by the server.
    let method = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    if !methods.contains(&method) {
        return Err(NoRoute::Method(methods));
    }
    let route = match (template, method) {
        ("/api/v1/jobs", _) => Route::Submit,
        ("/api/v1/jobs/{id}", "DELETE") => Route::CancelJob(name),
        ("/api/v1/jobs/{id}", _) => Route::Job(name),
        ("/api/v1/batches/{batch}", "DELETE") => Route::CancelBatch(name),
        ("/api/v1/batches/{batch}", _) => Route::Batch(name),
        ("/api/v1/batches/{batch}/events", _) => Route::Events(name),
        _ => Route::OpenApi,
    };
    Ok(route)
}

/// What stands in the place of the name, `""` where there is none; `None` for another path.
fn matched(template: &str, path: &str) -> Option<String> {
    let Some((before, rest)) = template.split_once('{') else {
        return (template == path).then(String::new);
    };
    let (_, after) = rest.split_once('}')?;
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let name = percent_decode_str(name).decode_utf8().ok()?;
    Some(name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_by_its_method_and_path() {
        for (method, path, route) in [
            ("POST", "/api/v1/jobs", Route::Submit),
            ("GET", "/api/v1/jobs/a", Route::Job("a".to_owned())),
            ("HEAD", "/api/v1/jobs/a", Route::Job("a".to_owned())),
            ("GET", "/api/v1/jobs/a%3Ab", Route::Job("a:b".to_owned())),
            ("GET", "/api/v1/jobs/a%2Fb", Route::Job("a/b".to_owned())),
            ("DELETE", "/api/v1/jobs/a", Route::CancelJob("a".to_owned())),
            ("GET", "/api/v1/batches/b", Route::Batch("b".to_owned())),
            (
                "DELETE",
                "/api/v1/batches/b",
                Route::CancelBatch("b".to_owned()),
            ),
            (
                "GET",
                "/api/v1/batches/b/events",
                Route::Events("b".to_owned()),
            ),
            (
                "GET",
                "/api/v1/batches/events",
                Route::Batch("events".to_owned()),
            ),
            ("GET", "/api/v1/openapi.json", Route::OpenApi),
        ] {
            let method = method.parse().expect("a method");
            assert_eq!(find(&method, path), Ok(route), "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_found_and_other_methods_are_told_which_there_are() {
        for path in [
            "/",
            "/api/v1",
            "/api/v1/jobs/",
            "/api/v1/jobs/a/",
            "/api/v1/jobs/a/b",
            "/api/v1/jobs/%ff",
            "/api/v1/batches/",
            "/api/v1/batches//events",
            "/api/v0/code-exec",
        ] {
            assert_eq!(find(&Method::GET, path), Err(NoRoute::NotFound), "{path}");
        }
        let put = find(&Method::PUT, "/api/v1/jobs/a");
        assert_eq!(put, Err(NoRoute::Method(&["GET", "DELETE"])));
        let get = find(&Method::GET, "/api/v1/jobs");
        assert_eq!(get, Err(NoRoute::Method(&["POST"])));
    }
}
