//! Folders and zip files that the code imports from.

use super::{job, left, run};
use serde_json::{Value, json};

/// A zip file with `zipped.py` in it, which says `where = 'zip'`; stored, not compressed.
const ZIP: &str = "UEsDBBQAAAAAAAAAIQC+7Rj5DgAAAA4AAAAJAAAAemlwcGVkLnB5d2hlcmUgPSAnemlwJwpQSwECFAMUAAAAAAAAACEA\
                   vu0Y+Q4AAAAOAAAACQAAAAAAAAAAAAAAgAEAAAAAemlwcGVkLnB5UEsFBgAAAAABAAEANwAAADUAAAAAAA==";

fn with_path(code: &str, files: &Value, path: &[&str]) -> Value {
    let mut job = job(code, "{}");
    job["files"] = files.clone();
    job["python_path"] = json!(path);
    Value::Object(left(&run(&job)))
}

#[test]
fn folders_and_zip_files_are_imported_from() {
    let files = json!([
        { "path": "lib/module.py", "content": "where = 'folder'\n" },
        { "path": "python_lib.zip", "content": { "base64": ZIP } }
    ]);
    // Wherever the code stands by then.
    let code = "import module, os\nx = [module.where]\nos.chdir('tmp')\nimport zipped\n\
                x.append(zipped.where)";
    assert_eq!(
        with_path(code, &files, &["lib", "python_lib.zip"]),
        json!({ "x": ["folder", "zip"] })
    );
}

#[test]
fn entries_stand_at_the_end_of_sys_path_in_the_order_in_which_they_were_sent() {
    let files = json!([
        { "path": "b/same.py", "content": "where = 'b'\n" },
        { "path": "a/same.py", "content": "where = 'a'\n" },
        // The standard library's own stands before it.
        { "path": "a/this.py", "content": "raise ValueError\n" },
        { "path": "a/json/__init__.py", "content": "raise ValueError\n" }
    ]);
    let code = "import sys, os, same, json\nfrom same import where\n\
                ends = [os.path.relpath(p) for p in sys.path[-2:]]\nreal = all(map(os.path.isabs, sys.path))";
    assert_eq!(
        with_path(code, &files, &["b/", "a"]),
        json!({ "where": "b", "ends": ["b", "a"], "real": true })
    );
}

#[test]
fn a_folder_that_is_only_implied_by_its_files_will_do() {
    let files = json!([{ "path": "deep/down/module.py", "content": "x = 1" }]);
    let code = "from module import x";
    assert_eq!(with_path(code, &files, &["deep/down"]), json!({ "x": 1 }));
}
