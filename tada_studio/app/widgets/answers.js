// No answer is lost. A page of gradio reads its answers from one stream, which the server closes when it owes nothing any more.
// What the page asks for while that word is under way is never answered: the page still takes the stream to be open, and
// waits (gradio 6.31, open_stream in its client). Seen as a page that opened, and on which nothing ever was open.
// So the page learns of the end only when nothing is due; otherwise the stream is taken up again, and the page does not notice.
(() => {
  const plain = window.fetch;
  const due = new Set();     // ids of requests that are not answered
  const early = new Set();   // answered before the page knows the id
  let closing = null;        // until the page has closed a stream that has ended for it

  async function joined(answer) {
    const { event_id: id } = await answer.clone().json().catch(() => ({}));
    if (id && !early.delete(id)) due.add(id);
    await closing;
    return answer;
  }

  function answered(id) {
    if (!due.delete(id)) early.add(id);
  }

  function closed(signal) {
    return new Promise((done) => {
      signal?.addEventListener('abort', done);
      setTimeout(done, 2000);
    });
  }

  // Hands on what the server says. True if it owes something, although it said that it is done.
  async function handOn(body, page, signal) {
    const owed = [...due];   // what a stream does not bring that was opened for it is not coming
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    const bytes = new TextEncoder();
    for (let rest = ''; ;) {
      const { done, value } = await reader.read();
      if (done) return false;
      const messages = (rest + value).split('\n\n');
      rest = messages.pop();
      for (const message of messages) {
        const [, kind, id] = /"msg": ?"(\w+)"(?:, ?"event_id": ?"(\w+)")?/.exec(message.slice(0, 200)) ?? [];
        if (kind === 'process_completed') answered(id);
        if (kind === 'close_stream') {
          owed.forEach((each) => due.delete(each));
          if (due.size) return true;
          closing = closed(signal);
        }
        page.enqueue(bytes.encode(`${message}\n\n`));
      }
    }
  }

  function followed(first, ask, signal) {
    const start = async (page) => {
      try {
        for (let answer = first; await handOn(answer.body, page, signal); answer = await ask());
        page.close();
      } catch (error) {
        page.error(error);
      }
    };
    return new Response(new ReadableStream({ start: (page) => { start(page); } }), first);
  }

  window.fetch = async (what, how) => {
    const url = String(what.url ?? what);
    const ask = () => plain(what instanceof Request ? what.clone() : what, how);
    if (url.includes('/queue/join')) return joined(await ask());
    const answer = await ask();
    return url.includes('/queue/data?') && answer.ok ? followed(answer, ask, what.signal ?? how?.signal) : answer;
  };
})();
