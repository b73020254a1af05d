//! More than one platform on a machine.

use tests::platform::Platform;

#[tokio::test(flavor = "multi_thread")]
async fn two_platforms_do_not_see_each_other() {
    let (one, two) = tokio::join!(Platform::start_beside(), Platform::start_beside());
    for (platform, name) in [(&one, "One"), (&two, "Two")] {
        let manifest = format!(
            "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: hello}}
spec:
  template:
    spec:
      containers:
      - image: weft.dev/samples/hello
        env: [{{name: TARGET, value: {name}}}]
"
        );
        platform.apply(&manifest).await;
    }
    for (platform, name) in [(&one, "One"), (&two, "Two")] {
        platform.ready("hello").await;
        let host = platform.host("hello").await;
        let text = platform.get(&host, "/").await.unwrap().ok().unwrap();
        assert_eq!(text.trim(), format!("Hello {name}!"));
    }
    drop(two);
    let host = one.host("hello").await;
    one.get(&host, "/").await.unwrap().ok().unwrap();
}
