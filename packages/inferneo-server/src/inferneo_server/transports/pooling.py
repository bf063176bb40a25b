"""Receives requests to embed, score, rerank and tokenise; hands on their answers."""

from litestar import Router, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from inferneo_core.embeddings import EmbeddingList, EmbeddingRequest
from inferneo_core.scores import Reranking, RerankRequest, ScoreList, ScoreRequest
from inferneo_core.tokens import Detokenized, DetokenizeRequest, Tokenized, TokenizeRequest
from inferneo_server.embedding import embed
from inferneo_server.scoring import rerank, score
from inferneo_server.tokenizing import detokenize, tokenize
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.requests import ApiRequest
from inferneo_server.transports.whole import WholeAnswer

_ERRORS = error_responses(400, 401, 403, 404, 413, 429, 503, 504)


@post(
    "/v1/embeddings",
    status_code=200,
    responses={200: ResponseSpec(EmbeddingList, generate_examples=False), **_ERRORS},
    tags=["OpenAI"],
)
async def create_embeddings(request: ApiRequest, data: EmbeddingRequest) -> ASGIApp:
    """Turn texts into vectors, of which those of near texts are near."""
    return WholeAnswer(request, lambda: embed(request.service, data, request.identity))


@post(
    ["/v1/score", "/score"],
    status_code=200,
    responses={200: ResponseSpec(ScoreList, generate_examples=False), **_ERRORS},
    tags=["vLLM"],
)
async def create_scores(request: ApiRequest, data: ScoreRequest) -> ASGIApp:
    """Say how near texts are to one, or to their counterparts."""
    return WholeAnswer(request, lambda: score(request.service, data, request.identity))


@post(
    ["/v1/rerank", "/v2/rerank", "/rerank"],
    status_code=200,
    responses={200: ResponseSpec(Reranking, generate_examples=False), **_ERRORS},
    tags=["vLLM"],
)
async def create_reranking(request: ApiRequest, data: RerankRequest) -> ASGIApp:
    """Order documents by how well they fit a query."""
    return WholeAnswer(request, lambda: rerank(request.service, data, request.identity))


@post(
    ["/v1/tokenize", "/tokenize"],
    status_code=200,
    responses={200: ResponseSpec(Tokenized, generate_examples=False), **_ERRORS},
    tags=["vLLM"],
)
async def tokenize_prompt(request: ApiRequest, data: TokenizeRequest) -> ASGIApp:
    """Split a text, or a chat as the model would read it, into tokens."""
    return WholeAnswer(request, lambda: tokenize(request.service, data, request.identity))


@post(
    ["/v1/detokenize", "/detokenize"],
    status_code=200,
    responses={200: ResponseSpec(Detokenized, generate_examples=False), **_ERRORS},
    tags=["vLLM"],
)
async def detokenize_tokens(request: ApiRequest, data: DetokenizeRequest) -> ASGIApp:
    """Join tokens to a text."""
    return WholeAnswer(request, lambda: detokenize(request.service, data, request.identity))


router = Router(
    "/",
    route_handlers=[
        create_embeddings,
        create_scores,
        create_reranking,
        tokenize_prompt,
        detokenize_tokens,
    ],
)
