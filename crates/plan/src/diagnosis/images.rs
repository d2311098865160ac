//! Images that are not here, and hosts that refuse.

use updraft_model::diagnosis::{Code, ImageFault};

use super::{Told, as_sentence, told};

/// What happened to an image.
pub(super) fn sentence(fault: ImageFault, image: &str) -> String {
    let what = match fault {
        ImageFault::Missing => "not found",
        ImageFault::Denied => return format!("Access to image '{image}' was denied."),
        ImageFault::Forbidden => "was not fetched",
        ImageFault::Unreachable | ImageFault::TooSlow => "could not be fetched",
        ImageFault::Platform | ImageFault::NoCommand | ImageFault::Corrupt | ImageFault::Unfit => "cannot be run",
    };
    format!("Image '{image}' {what}.")
}

pub(super) fn image(fault: ImageFault, image: &str, cause: &str) -> Told {
    let cause = as_sentence(cause);
    let registry = image.split('/').next().unwrap_or_default();
    match fault {
        ImageFault::Missing => told(
            Code::ImageMissing,
            cause,
            "Check the name and the tag, and that the image has been pushed ('updraft images list' shows what the \
             server's own registry has).",
        ),
        ImageFault::Denied => told(
            Code::ImageDenied,
            cause,
            format!(
                "Log in to {registry} with 'docker login {registry}' as the user that runs the server, or name a file \
                 with credentials in its setting registry-credentials."
            ),
        ),
        ImageFault::Forbidden => told(
            Code::ImageForbidden,
            cause,
            "Push the image to the server's own registry, or ask who runs the server to allow it (docs/outbound.md).",
        ),
        ImageFault::Platform => told(
            Code::ImageWrongArchitecture,
            cause,
            "Build it for linux/amd64, such as with 'docker build --platform linux/amd64'.",
        ),
        ImageFault::NoCommand => {
            told(Code::ImageWithoutCommand, cause, "Give the image an ENTRYPOINT or a CMD, or deploy with --command.")
        }
        ImageFault::Corrupt => {
            told(Code::ImageCorrupt, cause, "Build and push the image again: this copy of it is damaged.")
        }
        ImageFault::Unfit => told(Code::ImageUnfit, cause, "Build the image anew, as an OCI or Docker image."),
        ImageFault::TooSlow => {
            told(Code::ImageTooSlow, cause, "Push the image to the server's own registry, or make it smaller.")
        }
        ImageFault::Unreachable => {
            told(Code::RegistryUnreachable, cause, format!("See that the server reaches {registry}, and deploy again."))
        }
    }
}

pub(super) fn no_space(operation: &str, cause: &str) -> Told {
    told(
        Code::NoDiskSpace,
        as_sentence(&format!("{operation}: {cause}")),
        "Free space below the server's data directory ('updraft images delete' removes images), and deploy again.",
    )
}

pub(super) fn host(operation: &str, cause: &str) -> Told {
    told(
        Code::HostRefused,
        as_sentence(&format!("{operation}: {cause}")),
        "This is no fault of the container: 'updraft doctor' on the host shows what it lacks.",
    )
}
