// Runs of claims: starts one in place, shows its progress, and puts the new verdict into the page when it has ended.
(() => {
  const bar = document.getElementById("run");
  if (!bar) return;
  const text = bar.querySelector(".run-text");
  const detail = bar.querySelector(".run-detail");
  const progress = bar.querySelector("progress");
  const cancel = bar.querySelector("form[data-cancel]");
  let stream = null;

  const ask = async (address, options) => {
    const answer = await fetch(address, { ...options, headers: { "Content-Type": "application/json" } });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    return content;
  };

  const tell = (sentence, link) => {
    if (text.textContent === sentence) return; // spoken once
    const shown = document.createElement(link ? "a" : "span");
    if (link) shown.href = link;
    shown.textContent = sentence;
    text.replaceChildren(shown);
  };

  const problem = (error) => {
    bar.hidden = false;
    tell(error instanceof TypeError ? "The server does not answer: is bnlens serve still running?" : error.message);
    if (!stream) progress.hidden = cancel.hidden = true;
  };

  const seconds = (count) => (count < 90 ? `${Math.max(1, Math.round(count))} s` : `${Math.round(count / 60)} min`);
  const show = (run) => {
    const running = run.status === "running";
    bar.hidden = false;
    bar.toggleAttribute("data-running", running);
    progress.hidden = cancel.hidden = !running;
    if (run.jobs) progress.value = run.fraction;
    else progress.removeAttribute("value");
    const jobs = run.jobs ? `${run.done} of ${run.jobs} jobs` : "planning";
    const left = run.remaining === null ? "" : `, about ${seconds(run.remaining)} left`;
    detail.textContent = running ? `${jobs}${left}` : run.errors.join(" ") || `${jobs}, ${seconds(run.seconds)}`;
    if (running) tell(`${run.claim} is being computed`, "/runs");
    document.querySelectorAll("form[data-run] button").forEach((button) => (button.disabled = running));
  };

  const ended = async (run) => {
    const words = { done: "was computed", failed: "could not be computed", cancelled: "was cancelled; finished jobs are kept" };
    const fresh = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
    document.querySelectorAll("[data-live]").forEach((part) => {
      const found = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
      if (!found) return;
      part.querySelectorAll(".plot").forEach((plot) => window.Plotly?.purge(plot));
      part.replaceChildren(...found.childNodes);
      window.bnlens?.drawFigures(part);
    });
    const verdict = fresh.querySelector(`[data-testid="verdict-${run.claim}"], [data-live=claim] .badge`)?.textContent;
    tell(`${run.claim} ${words[run.status]}${run.status === "done" && verdict ? `: ${verdict}` : ""}.`, run.page);
  };

  const follow = () => {
    stream?.close();
    stream = new EventSource("/api/runs/events");
    stream.addEventListener("run", (event) => {
      const run = JSON.parse(event.data);
      show(run);
      if (run.status === "running") return;
      stream.close();
      stream = null;
      ended(run).catch(problem);
    });
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form === cancel) {
      event.preventDefault();
      cancel.querySelector("button").disabled = true;
      await ask("/api/runs/current", { method: "DELETE" }).catch(problem);
      cancel.querySelector("button").disabled = false;
    } else if (form.dataset.run) {
      event.preventDefault();
      form.querySelector("button").disabled = true;
      try {
        show(await ask("/api/runs", { method: "POST", body: JSON.stringify({ claim: form.dataset.run }) }));
        follow();
      } catch (error) {
        form.querySelector("button").disabled = false;
        problem(error);
      }
    }
  });

  if (bar.hasAttribute("data-running")) follow();
})();
