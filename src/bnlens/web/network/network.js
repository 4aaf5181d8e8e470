// The citation network: moving the graph, choosing a work in graph or list, searching. Without scripts graph and list still show.
(() => {
  const svg = document.getElementById("network-graph");
  const list = document.querySelector(".network-list");
  const form = document.querySelector(".network-search");
  if (!list || !form) return;
  const status = form.querySelector('[role="status"]');
  const input = form.querySelector("input");
  const view = svg?.querySelector(".view");
  const canvas = svg?.closest(".canvas");
  const [width, height] = svg ? svg.getAttribute("viewBox").split(" ").slice(2).map(Number) : [0, 0];

  const works = new Map();
  list.querySelectorAll("details").forEach((entry) => {
    const indices = (text) => text.split(" ").filter(Boolean);
    const near = new Set([...indices(entry.dataset.cites), ...indices(entry.dataset.cited)]);
    works.set(entry.dataset.work, { entry, near, mark: null, x: 0, y: 0 });
  });
  svg?.querySelectorAll("[data-mark]").forEach((mark) => {
    const { e: x, f: y } = mark.transform.baseVal.consolidate().matrix;
    Object.assign(works.get(mark.dataset.mark), { mark, x, y });
  });

  // --- moving ----------------------------------------------------------------------------------------------------------
  const place = { x: 0, y: 0, k: 1 };
  const apply = () => {
    if (!svg) return;
    place.k = Math.min(Math.max(place.k, 0.5), 12);
    view.setAttribute("transform", `translate(${place.x} ${place.y}) scale(${place.k})`);
    const unit = width / (svg.clientWidth || width);
    svg.style.setProperty("--size", unit / place.k ** 0.7);
  };
  const zoom = (factor, x = width / 2, y = height / 2) => {
    const k = Math.min(Math.max(place.k * factor, 0.5), 12);
    place.x = x - ((x - place.x) * k) / place.k;
    place.y = y - ((y - place.y) * k) / place.k;
    place.k = k;
    apply();
  };
  const showAll = () => {
    Object.assign(place, { x: 0, y: 0, k: 1 });
    apply();
  };
  const showThese = (found) => {
    const drawn = found.filter((work) => work.mark);
    if (!svg || !drawn.length) return;
    const [xs, ys] = [drawn.map((work) => work.x), drawn.map((work) => work.y)];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    place.k = Math.min(2.2, width / (right - left + 240), height / (bottom - top + 200));
    place.x = width / 2 - (place.k * (left + right)) / 2;
    place.y = height / 2 - (place.k * (top + bottom)) / 2;
    apply();
  };
  const centre = (work) => {
    if (!work.mark) return;
    place.x = width / 2 - place.k * work.x;
    place.y = height / 2 - place.k * work.y;
    apply();
  };

  // --- choosing --------------------------------------------------------------------------------------------------------
  let chosen = null;
  const clear = () => {
    chosen = null;
    svg?.classList.remove("choosing");
    svg?.querySelector(".edges.picked").setAttribute("d", "");
    works.forEach(({ entry, mark }) => {
      entry.classList.remove("selected");
      mark?.classList.remove("selected", "near");
    });
  };
  const choose = (index, { move = false, scroll = false } = {}) => {
    if (chosen === index) {
      if (move) centre(works.get(index));
      return;
    }
    clear();
    chosen = index;
    const work = works.get(index);
    works.forEach(({ entry }, other) => {
      if (other !== index) entry.open = false;
    });
    work.entry.hidden = false;
    work.entry.open = true;
    work.entry.classList.add("selected");
    if (work.mark) {
      svg.classList.add("choosing");
      work.mark.classList.add("selected");
      work.mark.parentNode.append(work.mark);
      work.near.forEach((other) => works.get(other).mark.classList.add("near"));
      const lines = [...work.near].map((other) => `M${work.x} ${work.y}L${works.get(other).x} ${works.get(other).y}`);
      svg.querySelector(".edges.picked").setAttribute("d", lines.join(""));
    }
    if (move) centre(work);
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
      if (entry.open) choose(index, { move: place.k > 1 });
      else if (chosen === index) dismiss();
    }),
  );

  // --- searching -------------------------------------------------------------------------------------------------------
  const headings = [...list.querySelectorAll(".role-heading")];
  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [...works.values()].filter(({ entry }) => words.every((word) => entry.dataset.text.includes(word)));
    const matches = new Set(words.length ? found : []);
    works.forEach((work) => {
      work.entry.hidden = words.length > 0 && !matches.has(work);
      work.mark?.classList.toggle("match", matches.has(work));
    });
    headings.forEach((heading) => {
      heading.hidden = ![...works.values()].some(({ entry }) => !entry.hidden && entry.dataset.role === heading.dataset.role);
    });
    svg?.classList.toggle("searching", words.length > 0);
    if (words.length) showThese(found);
    else showAll();
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
    if (first) choose(first.entry.dataset.work, { move: true, scroll: true });
  });
  form.hidden = false;

  // --- pointer and keys ------------------------------------------------------------------------------------------------
  if (svg) {
    const pointers = new Map();
    let moved = 0;
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      const scale = Math.min(box.width / width, box.height / height);
      const [left, top] = [(box.width - width * scale) / 2, (box.height - height * scale) / 2];
      return { x: (event.clientX - box.left - left) / scale, y: (event.clientY - box.top - top) / scale };
    };
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      if (!pointers.size) moved = 0;
      pointers.set(event.pointerId, at(event));
    });
    svg.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = at(event);
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      const step = Math.hypot(now.x - before.x, now.y - before.y);
      moved += step;
      if (moved > 6 && !svg.hasPointerCapture(event.pointerId)) {
        svg.setPointerCapture(event.pointerId);
        svg.classList.add("moving");
      }
      if (other) {
        const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
        zoom(distance(now) / distance(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
      } else if (moved > 6) {
        place.x += now.x - before.x;
        place.y += now.y - before.y;
        apply();
      }
      pointers.set(event.pointerId, now);
    });
    const release = (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) svg.classList.remove("moving");
    };
    svg.addEventListener("pointerup", release);
    svg.addEventListener("pointercancel", release);
    svg.addEventListener("pointerleave", (event) => {
      if (!svg.hasPointerCapture(event.pointerId)) release(event);
    });
    svg.addEventListener("click", (event) => {
      if (moved > 6) return;
      const mark = event.target.closest("[data-mark]");
      if (mark) choose(mark.dataset.mark, { scroll: true });
      else dismiss();
    });
    svg.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        const { x, y } = at(event);
        zoom(Math.exp(-event.deltaY / 300), x, y);
      },
      { passive: false },
    );
    const keys = {
      ArrowLeft: () => (place.x += 60),
      ArrowRight: () => (place.x -= 60),
      ArrowUp: () => (place.y += 60),
      ArrowDown: () => (place.y -= 60),
      "+": () => zoom(1.3),
      "=": () => zoom(1.3),
      "-": () => zoom(1 / 1.3),
      0: showAll,
      Escape: dismiss,
    };
    canvas.tabIndex = 0;
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
      apply();
    });
    const buttons = { in: () => zoom(1.4), out: () => zoom(1 / 1.4), all: showAll };
    document.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", buttons[button.dataset.zoom]));
    document.querySelector(".zoom").hidden = false;
    new ResizeObserver(apply).observe(svg);
  }
  const file = document.querySelector("input[data-max-mib]");
  file?.addEventListener("change", () => {
    const most = file.dataset.maxMib;
    const isLarge = (file.files[0]?.size ?? 0) > most * 2 ** 20;
    file.setCustomValidity(isLarge ? `The file is larger than ${most} MiB.` : "");
    if (isLarge) file.reportValidity();
  });
  const asked = location.hash.match(/^#work-(\d+)$/)?.[1];
  if (asked && works.has(asked)) choose(asked, { move: true, scroll: true });
})();
