//! Clients that stay with an instance.

use super::*;

impl World {
    /// Which instance answers a client that has this cookie, and the cookie that it is given.
    async fn visit(&self, cookie: Option<&str>) -> (String, Option<String>) {
        let mut request = Request::get(format!("http://{}/", self.address)).header("host", APP);
        if let Some(cookie) = cookie {
            request = request.header("cookie", format!("theme=dark; {cookie}"));
        }
        let before: Vec<u64> = self.engine.records().iter().map(|record| record.served()).collect();
        let answer = self.client().client.request(request.body(Empty::new()).expect("well formed")).await;
        let answer = answer.expect("it is answered");
        assert_eq!(answer.status(), StatusCode::OK);
        let told = answer.headers().get("set-cookie").map(|value| {
            assert_eq!(answer.headers()["cache-control"], "private");
            let value = value.to_str().expect("ASCII");
            value.split(';').next().expect("a pair").to_owned()
        });
        let records = self.engine.records();
        let has_served = |(index, record): &(usize, &Arc<updraft_engine::Record>)| {
            record.served() > before.get(*index).copied().unwrap_or_default()
        };
        let served = records.iter().enumerate().find(has_served).expect("somebody answered");
        (served.1.id.to_string(), told)
    }

    /// Two instances that take requests, and nobody is at either.
    async fn pair(&self) {
        let holds = [self.client(), self.client()].map(|client| async move { client.get("/wait/50").await });
        let over = until("both are done", || {
            self.hand.advance(Duration::from_millis(10));
            self.engine.records().iter().map(|record| record.served()).sum::<u64>() >= 2
                && self.engine.records().iter().all(|record| record.in_flight() == 0)
        });
        futures::join!(futures::future::join_all(holds), over);
        assert_eq!(self.engine.live(), 2);
    }
}

#[tokio::test]
async fn a_client_stays_with_its_instance_and_is_told_once() {
    let app = App { concurrency: 1, max: 2, affinity: SessionAffinity::Client, ..App::default() };
    let world = World::with(app).await;
    world.pair().await;
    let (home, told) = world.visit(None).await;
    let cookie = told.expect("it is told where it is at home");
    for _ in 0..5 {
        assert_eq!(world.visit(Some(&cookie)).await, (home.clone(), None));
    }
    // While somebody else is there, the other one does, and its home is there from then on.
    let id = updraft_model::instance::InstanceId(home.clone());
    assert!(world.engine.kill(&id, updraft_model::instance::Exit::Code(0)));
    until("it is gone", || world.engine.live() == 1).await;
    let (other, told) = world.visit(Some(&cookie)).await;
    assert_ne!(other, home);
    assert!(told.is_some_and(|told| told != cookie));
    world.end().await;
}

#[tokio::test]
async fn where_traffic_is_split_a_client_stays_with_its_revision() {
    let app = App { affinity: SessionAffinity::Client, ..App::default() };
    let world = World::new().await;
    world.serve(&app, &[(app.revision(1), 50), (app.revision(2), 50)]);
    let (home, told) = world.visit(None).await;
    let cookie = told.expect("it is told where it is at home");
    for _ in 0..20 {
        assert_eq!(world.visit(Some(&cookie)).await.0, home);
    }
    // A revision without a share keeps nobody.
    let records = world.engine.records();
    let left = &records.iter().find(|record| record.id.to_string() == home).expect("it is known").revision;
    let stays = if *left == app.revision(1) { app.revision(2) } else { app.revision(1) };
    world.serve(&app, &[(left.clone(), 0), (stays, 100)]);
    assert!(world.visit(Some(&cookie)).await.1.is_some());
    world.end().await;
}

#[tokio::test]
async fn without_affinity_nobody_is_told_anything() {
    let world = World::with(App::default()).await;
    assert_eq!(world.visit(Some("GAESA=0123456789abcdef0123456789abcdef")).await.1, None);
    world.end().await;
}
