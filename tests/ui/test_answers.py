"""What a page asks for while its stream of answers is being closed is answered too."""

from pathlib import Path

import pytest
from hands import reload, tab
from playwright.sync_api import expect

from tada_studio import app

ANSWERS = (Path(app.__file__).parent / "widgets" / "answers.js").read_text()

#: A network on which the server's last word on a stream, that it is closed, takes long.
LATE = """(() => {
  const plain = window.fetch;
  window.late = 0;
  window.fetch = async (what, how) => {
    const answer = await plain(what, how);
    if (!String(what.url ?? what).includes('/queue/data?')) return answer;
    const text = new TextDecoder();
    const slow = new TransformStream({ async transform(chunk, to) {
      const last = text.decode(chunk).includes('close_stream');
      if (last) { window.late += 1; await new Promise((done) => setTimeout(done, 3000)); window.late -= 1; }
      to.enqueue(chunk);
    } });
    return new Response(answer.body.pipeThrough(slow), answer);
  };
})()"""


def test_what_is_asked_while_the_stream_closes_is_answered(page):
    page.add_init_script(LATE)
    reload(page)
    page.wait_for_function("late === 0")
    tab(page, "export")
    page.locator("#export-name textarea, #export-name input").fill("../somewhere")
    page.wait_for_function("late > 0")  # the tab is answered, and the page does not know that the stream has ended
    page.click("#build")
    expect(page.locator("[data-testid=toast-text]")).to_contain_text("use letters")


#: A server that says what the test wants, and a page that reads one stream of it: joins(id), says(kind, id), heard().
SCENE = """
const streams = [], ids = [];
let told = '', ended = new AbortController();
window.fetch = async (url) => {
  if (url.includes('/queue/join')) return new Response(JSON.stringify({ event_id: ids.shift() }));
  return new Response(new ReadableStream({ start: (stream) => { streams.push(stream); } }));
};
ANSWERS
const moment = () => new Promise((done) => setTimeout(done, 50));
const joins = async (id) => { ids.push(id); await fetch('/queue/join?'); };
const says = async (msg, event_id = null) => {
  streams.at(-1).enqueue(new TextEncoder().encode(`data: ${JSON.stringify({ msg, event_id })}\\n\\n`));
  await moment();
};
const listens = async () => {
  const reader = (await fetch('/queue/data?x', { signal: ended.signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  (async () => { for (;;) { const { done, value } = await reader.read(); if (done) return; told += value; } })();
};
const heard = (word) => told.includes(word);
"""


@pytest.fixture
def acted(context):
    """Acts a scene, given as a script, on an empty page; its value."""
    page = context.new_page()
    yield lambda script: page.evaluate(f"async () => {{ {SCENE.replace('ANSWERS', ANSWERS)} {script} }}")
    page.close()


def test_the_page_hears_of_the_end_when_nothing_is_due(acted):
    script = "await joins('a'); await listens(); await says('process_completed', 'a'); await says('close_stream');"
    assert acted(f"{script} return [heard('process_completed'), heard('close_stream'), streams.length];") == [
        True,
        True,
        1,
    ]


def test_a_stream_that_ends_too_soon_is_taken_up_again(acted):
    script = "await joins('a'); await listens(); await joins('b'); await says('process_completed', 'a');"
    script += "await says('close_stream'); const early = heard('close_stream');"
    script += "await says('process_completed', 'b'); await says('close_stream');"
    assert acted(f"{script} return [early, heard('close_stream'), streams.length];") == [False, True, 2]


def test_an_answer_may_come_before_its_number(acted):
    script = "await listens(); await says('process_completed', 'a'); await joins('a'); await says('close_stream');"
    assert acted(f"{script} return [heard('close_stream'), streams.length];") == [True, 1]


def test_what_a_second_stream_does_not_bring_is_not_waited_for(acted):
    script = "await listens(); await joins('gone'); await says('close_stream'); await says('close_stream');"
    assert acted(f"{script} return [heard('close_stream'), streams.length];") == [True, 2]


def test_an_answer_waits_until_the_page_has_closed_its_stream(acted):
    script = "await joins('a'); await listens(); await says('process_completed', 'a'); await says('close_stream');"
    script += "let through = false; const b = joins('b').then(() => { through = true; }); await moment();"
    assert acted(f"{script} const before = through; ended.abort(); await b; return [before, through];") == [False, True]
