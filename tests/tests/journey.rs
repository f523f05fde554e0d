//! The main job end to end, on one node with nothing but a folder.

use autonomos_tests::{client::Client, journey::main_job, server::Start};

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_end_to_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    let server = Start::serve(&folder.path().join("data"))
        .with("AOS_FILE_ROOTS", inbox.display().to_string())
        .run()
        .expect("the server starts");
    let client = Client::registered(&server.url, "Northwind", "owner@northwind.example").await;
    main_job(&client, &inbox, async || {}).await;
}
