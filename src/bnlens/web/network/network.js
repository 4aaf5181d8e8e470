// The citation network: zooming the graph, choosing a work in graph or list, searching. Without scripts graph and list still show.
(() => {
  const svg = document.getElementById("network-graph");
  const canvas = svg.parentElement;
  const list = document.querySelector(".network-list");
  const form = document.querySelector(".network-search");
  const status = form.querySelector('[role="status"]');
  const input = form.querySelector("input");
  const [width, height] = svg.getAttribute("viewBox").split(" ").slice(2).map(Number);

  const works = new Map();
  list.querySelectorAll("details").forEach((entry) => {
    const { work: index, cites, cited } = entry.dataset;
    const mark = svg.querySelector(`[data-mark="${index}"]`);
    const { e: x, f: y } = mark.transform.baseVal.consolidate().matrix;
    works.set(index, { entry, mark, x, y, near: new Set(`${cites} ${cited}`.split(" ").filter(Boolean)) });
  });

  // --- zooming: the drawing grows in a frame that scrolls --------------------------------------------------------------
  let zoom = 1;
  const zoomTo = (wanted, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) => {
    const factor = Math.min(Math.max(wanted, 1), 12) / zoom;
    const [left, top] = [(canvas.scrollLeft + x) * factor - x, (canvas.scrollTop + y) * factor - y];
    zoom *= factor;
    svg.style.width = svg.style.height = `${100 * zoom}%`;
    svg.style.setProperty("--size", width / canvas.clientWidth / zoom ** 0.7);
    canvas.scrollTo(left, top);
  };
  const centre = ({ x, y }) =>
    canvas.scrollTo((x / width) * svg.clientWidth - canvas.clientWidth / 2, (y / height) * svg.clientHeight - canvas.clientHeight / 2);

  // --- choosing --------------------------------------------------------------------------------------------------------
  let chosen = null;
  const clear = () => {
    chosen = null;
    svg.classList.remove("choosing");
    svg.querySelector(".edges.picked").setAttribute("d", "");
    works.forEach(({ entry, mark }) => {
      entry.classList.remove("selected");
      mark.classList.remove("selected", "near");
    });
  };
  const choose = (index, { scroll = false } = {}) => {
    const work = works.get(index);
    centre(work);
    if (chosen === index) return;
    clear();
    chosen = index;
    work.entry.hidden = false;
    work.entry.open = true;
    work.entry.classList.add("selected");
    svg.classList.add("choosing");
    work.mark.classList.add("selected");
    work.mark.parentNode.append(work.mark);
    work.near.forEach((other) => works.get(other).mark.classList.add("near"));
    const lines = [...work.near].map((other) => `M${work.x} ${work.y}L${works.get(other).x} ${works.get(other).y}`);
    svg.querySelector(".edges.picked").setAttribute("d", lines.join(""));
    if (scroll) {
      list.scrollTop += work.entry.getBoundingClientRect().top - list.getBoundingClientRect().top - 40;
      work.entry.scrollIntoView({ block: "nearest" });
    }
    status.textContent = `Chosen: ${work.entry.querySelector("summary").firstChild.textContent.trim()}`;
    history.replaceState(null, "", `#work-${index}`);
  };
  const dismiss = () => {
    if (chosen === null) return;
    works.get(chosen).entry.open = false;
    clear();
    status.textContent = "";
    history.replaceState(null, "", location.pathname + location.search);
  };
  works.forEach(({ entry }, index) =>
    entry.addEventListener("toggle", () => {
      if (entry.open) choose(index);
      else if (chosen === index) dismiss();
    }),
  );

  // --- searching -------------------------------------------------------------------------------------------------------
  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [...works.values()].filter(({ entry }) => words.every((word) => entry.dataset.text.includes(word)));
    works.forEach((work) => {
      const isFound = found.includes(work);
      work.entry.hidden = !isFound;
      work.mark.classList.toggle("match", words.length > 0 && isFound);
    });
    list.querySelectorAll(".role-heading").forEach((heading) => {
      heading.hidden = !found.some(({ entry }) => entry.dataset.role === heading.dataset.role);
    });
    svg.classList.toggle("searching", words.length > 0);
    status.textContent = words.length ? `${found.length} ${found.length === 1 ? "work" : "works"} found` : "";
    return found;
  };
  input.addEventListener("input", () => {
    dismiss();
    search();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [first] = input.value.trim() ? search() : [];
    if (first) choose(first.entry.dataset.work, { scroll: true });
  });
  form.hidden = false;

  // --- pointer and keys ------------------------------------------------------------------------------------------------
  let moved = 0;
  svg.addEventListener("pointerdown", () => (moved = 0));
  svg.addEventListener("pointermove", (event) => {
    if (event.buttons !== 1 || event.pointerType !== "mouse") return; // fingers scroll
    moved += Math.abs(event.movementX) + Math.abs(event.movementY);
    canvas.scrollBy(-event.movementX, -event.movementY);
  });
  svg.addEventListener("click", (event) => {
    if (moved > 6) return;
    const mark = event.target.closest("[data-mark]");
    if (mark) choose(mark.dataset.mark, { scroll: true });
    else dismiss();
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const { left, top } = canvas.getBoundingClientRect();
      zoomTo(zoom * Math.exp(-event.deltaY / 300), event.clientX - left, event.clientY - top);
    },
    { passive: false },
  );
  const buttons = { in: () => zoomTo(zoom * 1.4), out: () => zoomTo(zoom / 1.4), all: () => zoomTo(1) };
  const keys = { "+": buttons.in, "=": buttons.in, "-": buttons.out, 0: buttons.all, Escape: dismiss };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", buttons[button.dataset.zoom]));
  document.querySelector(".zoom").hidden = false;
  new ResizeObserver(() => zoomTo(zoom)).observe(canvas);

  const asked = location.hash.match(/^#work-(\d+)$/)?.[1];
  if (works.has(asked)) choose(asked, { scroll: true });
})();
