//! The reference engine passes the suites that every engine passes.

use super::*;

struct Bed(Arc<FakeEngine>);

#[async_trait]
impl crate::contract::Bed for Bed {
    fn engine(&self) -> Arc<dyn Engine> {
        self.0.clone()
    }

    async fn successor(&mut self) {
        self.0 = self.0.successor();
    }

    fn image(&self) -> String {
        "registry.test/script@sha256:00".to_owned()
    }
}

async fn bed() -> Option<Bed> {
    Some(Bed(FakeEngine::new(Clock::system())))
}

crate::contract_suite!(bed);
crate::containers_suite!(bed);
