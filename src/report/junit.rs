//! What was tested, for CI servers: as `JUnit` XML, and as GitHub's annotations.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::document::{Document, Test, Text, Tone};

/// A test suite for each network, a test case for each test.
///
/// # Errors
/// The message of the XML writer.
pub fn xml(document: &Document) -> Result<String, String> {
    let name = document.title.first().map_or("", Text::plain);
    let mut report = Report::new(name);
    for suite in document.suites() {
        let mut cases = TestSuite::new(&suite.name);
        for test in &suite.tests {
            let mut status = status(test);
            status.set_message(if test.help.is_empty() {
                sentence(test)
            } else {
                format!("{} ({})", test.found, test.help)
            });
            let mut case = TestCase::new(&test.id, status);
            case.set_classname(name.replace(' ', "."));
            cases.add_test_case(case);
        }
        if !suite.facts.is_empty() {
            let lines: Vec<_> = suite.facts.iter().map(|(name, found)| format!("{name}: {found}")).collect();
            cases.set_system_out(lines.join("\n"));
        }
        report.add_test_suite(cases);
    }
    report.to_string().map_err(|error| error.to_string())
}

fn status(test: &Test) -> TestCaseStatus {
    match test.tone {
        _ if test.name.is_empty() => TestCaseStatus::non_success(NonSuccessKind::Error),
        Tone::Good => TestCaseStatus::success(),
        Tone::Unsure => TestCaseStatus::skipped(),
        Tone::Bad => TestCaseStatus::non_success(NonSuccessKind::Failure),
    }
}

/// GitHub's annotations, one line for each thing that does not hold.
pub fn annotations(document: &Document) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = document.title.first().map_or("", Text::plain);
    let mut text = String::new();
    for suite in document.suites() {
        for test in suite.tests.iter().filter(|test| test.tone != Tone::Good) {
            let level = if test.tone == Tone::Bad || test.name.is_empty() { "error" } else { "warning" };
            text += &format!("::{level} title={title}::{}: {}\n", escape(&suite.name), escape(&sentence(test)));
        }
    }
    text
}

fn sentence(Test { name, found, limit, verdict, .. }: &Test) -> String {
    match (&name[..], &limit[..]) {
        ("", _) => found.clone(),
        (_, "") => format!("{found} ({name})"),
        _ => format!("{name} {found}, {limit}: {verdict}"),
    }
}
