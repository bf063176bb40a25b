"""Proves that the tables of docs/compatibility.md have every parameter, and that each has a test.

A parameter that is added to a request wants a row in the table, and here the test that fails when
it is dropped on the way.
"""

import re
from pathlib import Path

import pytest

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.completions import CompletionRequest
from inferneo_core.embeddings import EmbeddingRequest
from inferneo_core.sampling import StreamOptions
from inferneo_core.scores import RerankRequest, ScoreRequest
from inferneo_core.tokens import DetokenizeRequest, TokenizeRequest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "compatibility.md"

ROUTES = {
    "chat": ChatCompletionRequest,
    "text": CompletionRequest,
    "embeddings": EmbeddingRequest,
    "rerank": RerankRequest,
    "score": ScoreRequest,
    "tokenize": TokenizeRequest,
    "detokenize": DetokenizeRequest,
}
WORDS = {"both": "chat, text", "all": "embeddings, rerank, score, tokenize, detokenize"}

# The tests that fail when a parameter is dropped, by their file: those of chats and texts.
WRITING = {
    "integration/test_openai_python.py": {
        "test_a_chat_answer_is_whole_and_ends_where_it_was_told_to": "max_tokens",
        "test_max_completion_tokens_wins_over_max_tokens": "max_completion_tokens",
        "test_n_choices_are_given_in_order": "n",
        "test_every_form_of_a_prompt_is_answered": "prompt n max_tokens",
        "test_a_streamed_chat_answer_is_role_then_content_then_finish_reason": "stream",
        "test_a_streamed_text_completion_joins_to_the_whole_one": "stream",
        "test_a_stream_ends_with_the_usage_that_was_asked_for": "stream_options.include_usage",
    },
    "integration/test_openai_python_errors.py": {
        "test_a_model_that_is_not_served_is_not_found": "model",
    },
    "integration/test_openai_python_sampling.py": {
        "test_vllm_ends_an_answer_before_its_stop_string": "stop",
        "test_vllm_streams_no_part_of_a_stop_string": "stop",
    },
    "integration/test_sampling.py": {
        "test_only_the_likeliest_is_drawn_where_no_other_is_let_in": (
            "temperature top_p top_k min_p"
        ),
        "test_a_seed_draws_the_same_again_and_another_something_else": "seed",
        "test_a_penalty_has_more_different_tokens_written": (
            "frequency_penalty presence_penalty repetition_penalty"
        ),
        "test_the_end_ends_unless_it_is_ignored_or_comes_too_early": "ignore_eos min_tokens",
        "test_an_answer_has_the_form_that_is_wanted": "response_format structured_outputs",
        "test_the_parts_and_roles_of_messages_reach_the_template": "messages",
        "test_user_is_taken_and_what_is_not_known_is_named": "user",
    },
    "integration/test_parameters.py": {
        "test_logprobs_of_a_chat_tell_each_token": "logprobs top_logprobs",
        "test_logprobs_of_a_text_are_four_equal_lists": "logprobs",
        "test_prompt_logprobs_tell_each_token_of_the_prompt": "prompt_logprobs",
        "test_echo_puts_the_prompt_first": "echo",
        "test_best_of_gives_those_with_the_highest_mean_logprob": "best_of",
        "test_a_suffix_makes_the_prompt_a_gap": "suffix",
        "test_logit_bias_forces_and_forbids": "logit_bias",
        "test_allowed_token_ids_are_all_that_is_written": "allowed_token_ids",
        "test_bad_words_are_not_written": "bad_words",
        "test_a_stop_token_ends_and_min_tokens_put_it_off": "stop_token_ids min_tokens",
        "test_a_stop_text_is_told_only_on_request": "stop include_stop_str_in_output",
        "test_special_tokens_are_skipped_unless_asked_for": "skip_special_tokens",
        "test_token_ids_are_returned_of_prompt_and_answer": "return_token_ids",
        "test_a_prompt_is_cut_at_its_beginning": "truncate_prompt_tokens truncation_side",
        "test_usage_is_told_in_each_chunk_on_request": "stream_options.continuous_usage_stats",
        "test_a_chat_goes_on_with_its_last_message": (
            "add_generation_prompt continue_final_message"
        ),
    },
    "integration/test_tools.py": {
        "test_a_fitting_tool_is_called": "tools",
        "test_a_call_can_be_forced_on_any_question": "tool_choice",
        "test_parallel_calls_can_be_barred": "parallel_tool_calls",
        "test_reasoning_stands_beside_the_answer": "reasoning_effort chat_template_kwargs",
        "test_reasoning_can_be_left_out": "include_reasoning",
    },
    "integration/test_structured.py": {
        "test_structured_outputs_are_vllms": "structured_outputs",
    },
    "integration/test_overload.py": {
        "test_the_lower_priority_comes_first_of_what_waits": "priority",
    },
}
# And those of the routes that read.
READING = {
    "integration/test_embeddings.py": {
        "test_vectors_come_in_the_order_of_the_inputs": "input",
        "test_floats_are_what_base64_holds": "encoding_format",
        "test_a_model_that_is_not_served_is_not_found": "model",
        "test_no_route_that_reads_answers_for_another_model": "model",
        "test_an_input_past_the_models_length_is_refused": "truncate_prompt_tokens",
        "test_user_is_taken_and_what_is_not_known_is_named": "user",
    },
    "integration/test_minilm.py": {
        "test_a_shorter_vector_is_the_beginning_of_the_whole_one": "dimensions",
        "test_a_cut_input_keeps_the_tokens_that_begin_and_end_it": "truncation_side",
        "test_special_tokens_can_be_left_out": "add_special_tokens",
        "test_special_tokens_are_told_unless_they_are_left_out": "add_special_tokens",
        "test_the_last_step_can_be_left_out": "use_activation",
        "test_documents_are_ordered_by_what_they_mean": "query documents top_n",
        "test_a_reranker_shortens_what_is_too_long": "max_tokens_per_doc truncate_prompt_tokens",
    },
    "integration/test_cross_encoder.py": {
        "test_scores_can_be_had_before_the_last_step": "use_activation",
    },
    "integration/test_overload.py": {
        "test_the_lower_priority_comes_first_of_what_waits": "priority",
    },
    "integration/test_tokens.py": {
        "test_a_text_has_the_tokens_of_its_tokenizer": "prompt return_token_strs",
        "test_tokens_become_their_text_again": "tokens",
        "test_a_chat_has_the_tokens_of_its_template": (
            "messages tools add_generation_prompt continue_final_message chat_template_kwargs"
        ),
    },
    "server/test_scoring.py": {
        "test_one_text_is_scored_against_each": "text_1 text_2",
        "test_the_texts_have_several_names": "queries documents items data_1 data_2",
        "test_the_best_so_many_are_given": "top_n",
        "test_documents_are_not_repeated_where_that_is_not_wanted": "return_documents",
        "test_texts_are_shortened": "max_tokens_per_query max_tokens_per_doc truncation_side",
        "test_documents_are_ranked_by_what_is_left_of_the_texts": (
            "max_tokens_per_query max_tokens_per_doc truncate_prompt_tokens truncation_side"
        ),
    },
}


def rows(heading: str) -> list[tuple[str, set[str], str]]:
    """The names, the routes and the row itself of each row of the table below a heading."""
    below = PAGE.read_text().partition(f"{heading}\n")[2].partition("\n#")[0]
    found = []
    for line in below.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            routes = set(WORDS.get(cells[1], cells[1]).split(", "))
            found += [(name, routes, line) for name in re.findall(r"`([\w.]+)`", cells[0])]
    return found


def fields(route: str) -> set[str]:
    """The parameters of a route, those of `stream_options` by their place."""
    names = set(ROUTES[route].__struct_fields__)
    if "stream_options" in names:
        names.remove("stream_options")
        names |= {f"stream_options.{name}" for name in StreamOptions.__struct_fields__}
    return names


@pytest.mark.parametrize(
    ("heading", "routes"),
    [
        ("## Parameters", ["chat", "text"]),
        (
            "### Embeddings, scores, tokens",
            ["embeddings", "rerank", "score", "tokenize", "detokenize"],
        ),
    ],
)
def test_the_table_has_what_each_route_takes_and_no_blank(heading: str, routes: list[str]) -> None:
    table = rows(heading)
    for route in routes:
        assert {name for name, told, _ in table if route in told} == fields(route), route
    assert {route for _, told, _ in table for route in told} == set(routes)
    for _, _, line in table:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 5 and (cells[3] or cells[4] or cells[2]), line


@pytest.mark.parametrize(
    ("heading", "proofs"),
    [("## Parameters", WRITING), ("### Embeddings, scores, tokens", READING)],
)
def test_each_row_has_a_test(heading: str, proofs: dict[str, dict[str, str]]) -> None:
    for file, tests in proofs.items():
        code = (TESTS / file).read_text()
        for test in tests:
            assert f"\ndef {test}(" in code, f"{file}::{test}"
    proved = {
        name for tests in proofs.values() for names in tests.values() for name in names.split()
    }
    assert {name for name, _, _ in rows(heading)} == proved
