//! The routes: one table that the router, the document and the counters are made of.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::time::timeout;

use super::edge::{Edge, Served, Single, Told};
use super::refusal::{Code, Refusal};
use super::{metrics, models, openapi, raw};

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Predict,
    Batch,
    Labels,
    Feedback,
    Health,
    Models,
    Metrics,
    OpenApi,
}

impl Route {
    pub(super) const ALL: [Route; 8] = [
        Route::Predict,
        Route::Batch,
        Route::Labels,
        Route::Feedback,
        Route::Health,
        Route::Models,
        Route::Metrics,
        Route::OpenApi,
    ];

    pub(super) const fn path(self) -> &'static str {
        match self {
            Route::Predict => "/predict/{model}",
            Route::Batch => "/predict/{model}/batch",
            Route::Labels => "/labels/{model}",
            Route::Feedback => "/feedback/{model}",
            Route::Health => "/health/{model}",
            Route::Models => "/models",
            Route::Metrics => "/metrics",
            Route::OpenApi => "/openapi.json",
        }
    }

    /// Whether it is posted to, with a body.
    pub(super) const fn is_post(self) -> bool {
        matches!(self, Route::Predict | Route::Batch | Route::Labels | Route::Feedback)
    }

    pub(super) fn names_model(self) -> bool {
        self.path().contains("{model}")
    }
}

pub(super) fn of(edge: Edge) -> Router {
    let document = Bytes::from(openapi::document(&edge).to_string());
    let row = DefaultBodyLimit::max(edge.config.row_bytes);
    let many = DefaultBodyLimit::max(edge.config.batch_bytes);
    let handler = |route: Route| match route {
        Route::Predict => post(predict).layer(row),
        Route::Batch => post(batch).layer(many),
        Route::Labels => post(labels).layer(many),
        Route::Feedback => post(feedback).layer(row),
        Route::Health => get(health),
        Route::Models => get(list),
        Route::Metrics => get(scrape),
        Route::OpenApi => get(move || async { raw("application/json", document) }),
    };
    let router = Route::ALL
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path(), handler.clone()(route)));
    router
        .fallback(|| async { Refusal::plain(Code::UnknownRoute) })
        .method_not_allowed_fallback(|| async { Refusal::plain(Code::MethodNotAllowed) })
        .with_state(Arc::new(edge))
}

type Model = Result<Path<String>, PathRejection>;
type Shared = State<Arc<Edge>>;

async fn predict(State(edge): Shared, model: Model, request: Request) -> Told<Response> {
    let (slot, body) = posted(&edge, model, request).await?;
    match edge.read_and_answer(&slot, &body)? {
        Single::Answered(response) => Ok(response),
        Single::ToDo(asked, row) => {
            edge.work(move |edge| edge.answer(&slot, &asked, &row, edge.clock.nanos())).await
        }
    }
}

async fn batch(State(edge): Shared, model: Model, request: Request) -> Told<Response> {
    let (slot, body) = posted(&edge, model, request).await?;
    edge.work(move |edge| edge.answer_all(&slot, &body)).await
}

async fn labels(State(edge): Shared, model: Model, request: Request) -> Told<Response> {
    let (slot, body) = posted(&edge, model, request).await?;
    edge.work(move |edge| edge.label(&slot, &body)).await
}

async fn feedback(State(edge): Shared, model: Model, request: Request) -> Told<Response> {
    let (slot, body) = posted(&edge, model, request).await?;
    edge.work(move |edge| edge.comment(&slot, &body)).await
}

async fn health(State(edge): Shared, model: Model) -> Told<Response> {
    models::health(&edge, &*named(&edge, model)?)
}

async fn list(State(edge): Shared) -> Told<Response> {
    models::list(&edge)
}

async fn scrape(State(edge): Shared) -> Told<Response> {
    edge.work(|edge| Ok(raw(metrics::MEDIA_TYPE, metrics::text(edge).into()))).await
}

/// The slot that a path names.
fn named(edge: &Edge, model: Model) -> Told<Arc<Served>> {
    // What is no text names nothing.
    let Path(name) = model.map_err(|_| Refusal::plain(Code::UnknownModel))?;
    edge.slot(&name)
}

/// The slot that a path names, and the body.
async fn posted(edge: &Edge, model: Model, request: Request) -> Told<(Arc<Served>, Bytes)> {
    let slot = named(edge, model)?;
    let is_json = request.headers().get(header::CONTENT_TYPE).is_some_and(|value| {
        let media = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    if !is_json {
        return Err(Refusal::plain(Code::UnsupportedMediaType));
    }
    let body = timeout(edge.config.body_timeout, Bytes::from_request(request, &())).await;
    match body {
        Ok(Ok(body)) => Ok((slot, body)),
        Ok(Err(why)) if why.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Refusal::plain(Code::TooLarge))
        }
        Ok(Err(_)) | Err(_) => Err(Refusal::plain(Code::BodyTimeout)),
    }
}
