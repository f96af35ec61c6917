//! The page on the gateway says what the program does: docs/gateway.md.

use std::path::Path;

use jailfleet_harness::metrics_page::assert_page_names_metrics;
use jailfleet_producer::serve::Metrics;

#[test]
fn the_page_on_the_gateway_names_each_metric_with_type_labels_meaning_and_what_to_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateway.md");
    let page = std::fs::read_to_string(path).expect("the page exists");
    let metrics = Metrics::new().expect("they are well formed");
    let exported = String::from_utf8(metrics.render().expect("they render")).expect("text");
    assert_page_names_metrics(&page, &exported);
}
