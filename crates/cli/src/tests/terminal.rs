//! Texts of containers and of remotes on the terminal of whoever reads them.

use serde_json::{Value, json};

use super::{Answer, NAME, Try, WAIT, any, ok, refused, running, service, with};

/// Red, a title for the window, back to the start of the line, DEL, and the one-character form of `ESC [`.
const EVIL: &str = "\u{1b}[31mred\u{1b}]0;title\u{7} \r \u{7f} \u{9b}2J";

/// The command's whole output has nothing in it that a terminal obeys, and says the rest.
async fn assert_tame(line: &str, answers: Vec<Answer>) -> String {
    let (text, _) = Try::new(line, answers).run().await;
    let left: Vec<char> = text.chars().filter(|c| c.is_control() && *c != '\n').collect();
    assert!(left.is_empty(), "{line}: {text:?}");
    assert!(text.contains("red") && text.contains("title"), "{line}: {text}");
    text
}

fn failed() -> Value {
    let ready = json!({ "type": "Ready", "state": "CONDITION_FAILED", "message": EVIL });
    with(service(2), json!({ "terminalCondition": ready, "description": EVIL }))
}

#[tokio::test]
async fn what_a_container_wrote_is_shown_and_not_obeyed() {
    const LOGS: &str = "GET /updraft/v1/logs?project=demo-project&location=us-central1&service=hello&limit=100";
    const DIAGNOSIS: &str = "GET /updraft/v1/diagnosis?project=demo-project&location=us-central1&service=hello";
    let log = json!({ "timestamp": "2026-11-21T08:14:40.5Z", "textPayload": EVIL }).to_string() + "\n";
    let told = json!({
        "service": "hello", "revision": "hello-00002-abc", "state": "FAILED", "message": "",
        "diagnosis": { "code": "exited", "sentence": "S.", "cause": EVIL, "advice": "A.", "facts": [EVIL], "lastLines": [EVIL] },
        "serving": []
    });
    let text = assert_tame("services logs hello", vec![Answer(LOGS, 200, log.clone())]).await;
    assert!(text.contains(r"40 \u{1b}[31mred\u{1b}]0;title\u{7} \r \u{7f} \u{9b}2J"), "{text}");
    assert_tame("services doctor hello", vec![ok(DIAGNOSIS, &told)]).await;
    assert_tame("services describe hello", vec![ok("GET /services/hello", &failed())]).await;
    for (format, line) in [("json", "services logs hello --format json"), ("yaml", "services logs hello --format yaml")]
    {
        let text = assert_tame(line, vec![Answer(LOGS, 200, log.clone())]).await;
        if format == "json" {
            let data: Value = serde_json::from_str(text.split_once("out:\n").unwrap().1).unwrap();
            assert_eq!(data[0]["textPayload"], EVIL, "programs read what was written");
        }
    }
}

#[tokio::test]
async fn nobody_writes_the_row_of_another_into_the_audit_log() {
    let forged = "projects/p\n2026-11-21 08:14:41  admin@updraft.local  DeleteService  projects/p\u{202e}ko\t\u{2028}";
    let entry = json!({"timestamp": "2026-11-21T08:14:40Z", "protoPayload": {
        "authenticationInfo": {"principalEmail": forged},
        "methodName": forged,
        "resourceName": forged,
        "status": {"code": 7},
    }});
    let page = json!({"entries": [entry]});
    let answers = vec![Answer("POST /logging/v2/entries:list", 200, page.to_string())];
    let (text, _) = Try::new("audit", answers).run().await;
    let rows: Vec<&str> = text.split_once("out:\n").expect("a table").1.lines().collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert!(rows[1].contains(r"projects/p\n2026") && rows[1].contains(r"\u{202e}ko\t\u{2028}"), "{text}");
    assert!(!text.contains(['\u{202e}', '\u{2028}', '\t']), "{text:?}");
}

#[tokio::test]
async fn what_the_server_says_of_a_failure_is_shown_and_not_obeyed() {
    let list = "GET /services?pageSize=100";
    assert_tame("services list", vec![refused(list, 400, "INVALID_ARGUMENT", EVIL)]).await;
    let failed = json!({
        "name": super::OPERATION, "metadata": any("Service", with(service(1), json!({ "name": NAME }))), "done": true,
        "error": { "code": 9, "message": EVIL }
    });
    let answers = vec![
        ok("GET /services/hello", &service(1)),
        ok("PATCH /services/hello?updateMask=template%2Cclient%2CclientVersion", &running(service(1))),
        ok(WAIT, &failed),
    ];
    let text = Try::new("services update hello --image i", answers).run().await.0;
    assert!(text.contains(r"\u{1b}[31mred"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
}
