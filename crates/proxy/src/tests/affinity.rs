//! Clients that stay with an instance.

use updraft_model::instance::{Exit, InstanceId};

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

    /// Somebody else has a request with this cookie, somewhere, while `meanwhile` is done.
    async fn while_busy<T>(&self, cookie: &str, meanwhile: impl Future<Output = T>) -> T {
        let (client, address) = (self.client(), self.address);
        let request = Request::get(format!("http://{address}/wait/50")).header("host", APP).header("cookie", cookie);
        let is_busy = || self.engine.records().iter().any(|record| record.in_flight() == 1);
        let done = async {
            until("it is under way", is_busy).await;
            let done = meanwhile.await;
            self.hand.advance(Duration::from_millis(50));
            done
        };
        let ((status, _), done) = futures::join!(client.send(request), done);
        assert_eq!(status, StatusCode::OK);
        self.until_idle().await;
        done
    }
}

#[tokio::test]
async fn a_client_stays_with_its_instance_and_is_told_once() {
    let app = App { concurrency: 1, max: 2, affinity: SessionAffinity::Client, ..App::default() };
    let world = World::with(app).await;
    let (first, _) = world.visit(None).await;
    let (home, told) = world.while_busy("", world.visit(None)).await;
    assert_ne!(home, first);
    let cookie = told.expect("it is told where it is at home");
    // Others go to the one that has been there longer.
    assert_eq!(world.visit(None).await.0, first);
    for _ in 0..5 {
        assert_eq!(world.visit(Some(&cookie)).await, (home.clone(), None));
    }
    // While there is no room, the other one does, and its home is there from then on.
    let (other, told) = world.while_busy(&cookie, world.visit(Some(&cookie))).await;
    assert_eq!(other, first);
    let cookie = told.expect("it is told its new home");
    assert_eq!(world.visit(Some(&cookie)).await, (first.clone(), None));
    // When its home is gone it is told anew, too.
    assert!(world.engine.kill(&InstanceId(first.clone()), Exit::Code(0)));
    until("it is gone", || world.engine.live() == 1).await;
    let (other, told) = world.visit(Some(&cookie)).await;
    assert_eq!(other, home);
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
    let left = records.iter().find(|record| record.id.to_string() == home).expect("it is known");
    let left = left.owner.revision().expect("it is a revision's");
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
