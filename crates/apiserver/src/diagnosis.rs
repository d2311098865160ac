//! Why a revision did not come up, told again.

use serde_json::{Value, json};
use updraft_control::{Report, Standing};
use updraft_model::{Error, diagnosis::Diagnosis, iam::Principal};

use crate::{Served, logs, own::Parameters};

/// `GET /updraft/v1/diagnosis?service=&revision=&project=&location=`: how a revision stands, and what was
/// found out if it did not come up; without `revision` the latest one. `state` is `READY`, `FAILED` or
/// `PENDING`; `diagnosis` is null when there is nothing to tell.
///
/// # Errors
/// `InvalidArgument` for a parameter that is missing or wrong, `NotFound`, `PermissionDenied`.
pub(crate) async fn read(deps: &Served, caller: &Principal, parameters: &Parameters) -> Result<Value, Error> {
    let service = logs::service(deps, parameters)?;
    Ok(told(&deps.control.diagnosis(caller, &service, parameters.get("revision")).await?))
}

fn told(report: &Report) -> Value {
    let (state, message, diagnosis) = match &report.standing {
        Standing::Pending => ("PENDING", String::new(), Value::Null),
        Standing::Ready(None) => ("READY", String::new(), Value::Null),
        Standing::Ready(Some(trouble)) => {
            ("READY", trouble.diagnosis.to_string(), diagnosis(&trouble.diagnosis, &trouble.last_lines))
        }
        Standing::Failed(failure) => {
            let found = failure.diagnosis.as_deref().map(|found| diagnosis(found, &failure.last_lines));
            ("FAILED", failure.message.clone(), found.unwrap_or_default())
        }
    };
    json!({
        "service": report.revision.service.service,
        "revision": report.revision.revision,
        "state": state,
        "message": message,
        "diagnosis": diagnosis,
        "serving": report.serving,
    })
}

fn diagnosis(found: &Diagnosis, last_lines: &[String]) -> Value {
    json!({
        "code": found.code.as_str(),
        "sentence": found.sentence,
        "cause": found.cause,
        "advice": found.advice,
        "facts": found.facts,
        "lastLines": last_lines,
        "isPlatformFault": found.code.is_platform(),
    })
}
