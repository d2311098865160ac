//! `--egress`.

use super::*;

#[test]
fn egress_to_everywhere_is_as_if_nobody_had_said_anything() {
    check_update(
        "--egress all",
        NewRevision::IfChanged,
        &expect![[r#"
        mask: 
    "#]],
    );
    check_update(
        "--egress none",
        NewRevision::IfChanged,
        &expect![[r#"
        mask: template,client,clientVersion
        - template.revision = "hello-00003-old"
        + template.annotations.updraft.dev/egress = "none"
        + template.labels.client.knative.dev/nonce = "vgsaaaaaaa"
    "#]],
    );
}
