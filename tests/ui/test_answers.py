"""What a page asks for while its stream of answers is being closed is answered too."""

from hands import reload, tab
from playwright.sync_api import expect

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
