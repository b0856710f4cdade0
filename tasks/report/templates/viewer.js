"use strict";
// volumes hand themselves in: isovox.volume(name, facts, base64 of gzipped bytes), from scripts beside the page
const isovox = { arrived: {}, volume: (name, facts, content) => (isovox.arrived[name] = { facts, content }), scans: () => {} };
(async () => {
  const at = (id) => document.getElementById(id);
  const page = JSON.parse(at("data").textContent);
  const rated = ratings(page.links.cohort || location.href);
  const layer = (name) => page.layers.find((each) => each.name === name);
  const say = (text) => {
    at("message").textContent = text;
    at("message").hidden = false;
  };
  const script = (address) =>
    new Promise((done, failed) => {
      const element = document.createElement("script");
      element.src = address;
      element.onload = done;
      element.onerror = () => failed(new Error(`${address} is not beside this page`));
      document.head.append(element);
    });
  const kept = (name, value) => {
    try {
      if (value !== undefined) localStorage.setItem(`isovox-${name}`, value);
      return localStorage.getItem(`isovox-${name}`);
    } catch {
      return null;
    }
  };

  // -- other scans, rating: they work where nothing can be drawn --

  let others = [];
  isovox.scans = (keys) => (others = keys);
  const beside = (by) => others[others.indexOf(page.key) + by];
  const go = (by) => beside(by) && (location.href = `${encodeURIComponent(beside(by))}_viewer.html`);
  script(page.links.list).then(() => {
    if (!others.includes(page.key)) others = [];
    for (const [id, by] of [["previous", -1], ["next", 1]]) {
      at(id).hidden = !beside(by);
      at(id).href = `${encodeURIComponent(beside(by) ?? "")}_viewer.html`;
    }
    at("previous").title = beside(-1) ?? "";
    at("next").title = beside(1) ?? "";
  }, () => {});
  const rating = at("rating");
  const showRating = () => {
    const { rating: chosen, remark } = rated.of(page.key);
    rating.querySelector(`input[value="${chosen}"]`).checked = true;
    if (document.activeElement !== at("remark")) at("remark").value = remark;
  };
  const rate = (value) => {
    rated.put(page.key, { rating: value });
    showRating();
  };
  rating.addEventListener("submit", (event) => event.preventDefault());
  rating.addEventListener("change", (event) => event.target.name === "rating" && rate(event.target.value));
  at("remark").addEventListener("input", () => rated.put(page.key, { remark: at("remark").value }));
  addEventListener("storage", showRating);
  showRating();

  const RATE = { k: "keep", d: "doubt", j: "reject" };
  const acts = {
    n: () => go(1),
    p: () => go(-1),
    t: () => at("remark").focus(),
    ...Object.fromEntries(Object.entries(RATE).map(([key, value]) => [key, () => rate(value)])),
  };
  const typing = (element) => element.matches('input:not([type="radio"]), select, textarea');
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") document.activeElement.blur();
    if (typing(event.target)) return;
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation(); // the viewer's own keys would move as well
    act();
  }, true);

  if (!document.createElement("canvas").getContext("webgl2")) {
    say("This browser offers no WebGL 2, which this page needs to draw. Turn on hardware acceleration, or use another browser; “Figures of this scan” above shows pictures without it.");
    return;
  }

  // -- volumes --

  const loaded = {};
  const load = (name) => (loaded[name] ??= (async () => {
    if (!isovox.arrived[name]) await script(`${encodeURIComponent(page.links.volumes)}/${encodeURIComponent(name)}.js`);
    const { facts, content } = isovox.arrived[name];
    delete isovox.arrived[name];
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const levels = new Uint8Array(await new Response(stream).arrayBuffer());
    if (facts.delta) for (let n = 1; n < levels.length; n++) levels[n] = (levels[n] + levels[n - 1]) & 255;
    const square = facts.levels === "square";
    const raw = square ? Int16Array.from({ length: 256 }, (_, n) => Math.round(32767 * (n / 255) ** 2)) : null;
    const slope = (facts.high - facts.low) / (square ? 32767 : 255);
    const values = square ? Int16Array.from(levels, (level) => raw[level]) : levels;
    return { facts, values, slope, inter: facts.low, square };
  })());

  const nifti = ({ facts, values, slope, inter, square }) => {
    const buffer = new ArrayBuffer(352 + values.byteLength);
    const head = new DataView(buffer);
    head.setInt32(0, 348, true);
    [3, ...facts.shape, 1, 1, 1, 1].forEach((size, n) => head.setInt16(40 + 2 * n, size, true));
    head.setInt16(70, square ? 4 : 2, true);
    head.setInt16(72, square ? 16 : 8, true);
    const sizes = [0, 1, 2].map((column) => Math.hypot(...[0, 1, 2].map((row) => facts.affine[row][column])));
    [1, ...sizes, 1, 1, 1, 1].forEach((size, n) => head.setFloat32(76 + 4 * n, size, true));
    head.setFloat32(108, 352, true);
    head.setFloat32(112, slope, true);
    head.setFloat32(116, inter, true);
    head.setUint8(123, 2);
    head.setInt16(254, 1, true);
    facts.affine.slice(0, 3).flat().forEach((value, n) => head.setFloat32(280 + 4 * n, value, true));
    [..."n+1\0"].forEach((letter, n) => head.setUint8(344 + n, letter.charCodeAt(0)));
    new Uint8Array(buffer, 352).set(new Uint8Array(values.buffer));
    return buffer;
  };

  const through = (matrix, [x, y, z]) => [0, 1, 2].map((row) => matrix[row][0] * x + matrix[row][1] * y + matrix[row][2] * z + matrix[row][3]);
  const valueAt = (volume, world) => {
    const [i, j, k] = through(volume.facts.inverse, world).map(Math.round);
    const [width, height, depth] = volume.facts.shape;
    if (i < 0 || j < 0 || k < 0 || i >= width || j >= height || k >= depth) return null;
    return volume.values[i + width * (j + height * k)] * volume.slope + volume.inter;
  };

  // -- drawing --

  const TITLES = { input: "Input as measured (nearest voxel)", cubic: "Cubic interpolation", restored: `Restored by ${page.method}` };
  const SHORT = { input: "input", cubic: "cubic", restored: "restored" };
  const SLICES = { multi: "sliceTypeMultiplanar", axial: "sliceTypeAxial", coronal: "sliceTypeCoronal", sagittal: "sliceTypeSagittal", render: "sliceTypeRender" };
  const ORDER = Object.keys(SLICES);
  const [lowest, highest] = page.range;
  let shown = [...page.window];
  let over = null;
  const viewers = [];
  const images = [null, null];

  // The letters of the sides lie on white tissue and on the crosshair: each has a dark ground.
  const plate = (viewer, [left, top], text, scale) => [left - 2, top - 2, viewer.textWidth(viewer.fontPx * scale, text) + 4, viewer.fontPx * scale + 4];

  const open = async (id) => {
    const viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1], clipPlaneHotKey: "", cycleClipPlaneHotKey: "", crosshairColor: [1, 0.8, 0, 0.7], crosshairWidth: 0.5, dragMode: 0, fontColor: [1, 1, 1, 1], fontMinPx: 18,
      isOrientCube: true, isRadiologicalConvention: (kept("side") ?? "R") === "R", logLevel: "error", multiplanarPadPixels: 8, sagittalNoseLeft: true,
      show3Dcrosshair: true, showAllOrientationMarkers: true, viewModeHotKey: "", scrollRequiresFocus: false, isNearestInterpolation: true,
    });
    await viewer.attachTo(id);
    for (const [name, stops] of Object.entries(page.colours)) {
      const channel = (n) => stops.map((colour) => colour[n]);
      viewer.addColormap(`isovox-${name}`, { R: channel(0), G: channel(1), B: channel(2), A: stops.map((_, n) => (n ? 255 : 0)), I: stops.map((_, n) => Math.round((255 * n) / (stops.length - 1))) });
    }
    viewer.opts.multiplanarShowRender = niivue.SHOW_RENDER.NEVER;
    const write = viewer.drawText.bind(viewer);
    viewer.drawText = (place, text, scale = 1, colour = null) => {
      if (/^[RLAPSI]$/.test(text)) viewer.drawRect(plate(viewer, place, text, scale), [0, 0, 0, 1]);
      write(place, text, scale, colour);
    };
    return viewer;
  };

  const shade = () => {
    const width = Math.max(shown[1] - shown[0], (highest - lowest) / 500);
    shown = [shown[0], shown[0] + width];
    for (const viewer of viewers) {
      if (!viewer.volumes.length) continue;
      [viewer.volumes[0].cal_min, viewer.volumes[0].cal_max] = shown;
      viewer.updateGLVolume();
    }
    const [low, high, level, wide] = [...shown, (shown[0] + shown[1]) / 2, width].map((value) => Number(value.toPrecision(4)));
    at("window").textContent = `${low} to ${high} (level ${level}, width ${wide}), the scan's units`;
    at("background").setAttribute("aria-pressed", String(shown[1] === page.faint[1]));
  };
  const move = (level, width) => {
    const [middle, wide] = [(shown[0] + shown[1]) / 2 + level * (highest - lowest), (shown[1] - shown[0]) * Math.exp(width)];
    shown = [middle - wide / 2, middle + wide / 2];
    shade();
  };

  const fill = async (n) => {
    const name = at(["left", "right"][n]).value;
    const viewer = viewers[n];
    const place = viewer.volumes.length ? viewer.frac2mm(viewer.scene.crosshairPos) : null;
    const [volume, overlay] = [await load(name), at("overlay").value ? await load(at("overlay").value) : null];
    while (viewer.volumes.length) viewer.removeVolume(viewer.volumes[viewer.volumes.length - 1]);
    await viewer.loadFromArrayBuffer(nifti(volume), `${name}.nii`);
    if (overlay) {
      await viewer.loadFromArrayBuffer(nifti(overlay), "overlay.nii");
      const { end, signed: hasSign } = layer(at("overlay").value);
      // colours fade towards 0, so that the anatomy is seen beneath
      const below = hasSign ? { colormapNegative: "isovox-below", cal_minNeg: -end / 2, cal_maxNeg: -end } : {};
      Object.assign(viewer.volumes[1], { colormap: "isovox-above", colormapType: 1, cal_min: end / 2, cal_max: end, opacity: 1, ...below });
    }
    if (place) viewer.scene.crosshairPos = viewer.mm2frac(place);
    images[n] = volume;
    over = overlay;
    at(["left-title", "right-title"][n]).textContent = TITLES[name];
    at(["left-name", "right-name"][n]).textContent = SHORT[name];
    shade();
  };
  const fillBoth = async () => {
    try {
      for (const element of document.querySelectorAll(".overlay-scale")) element.hidden = element.dataset.overlay !== at("overlay").value;
      await fill(0);
      await fill(1);
      read();
      document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
    } catch (error) {
      say(`The volumes could not be opened: ${error.message}. Keep the page together with the folder ${page.links.volumes}; “Figures of this scan” above needs neither.`);
    }
  };

  const place = () => viewers[0].frac2mm(viewers[0].scene.crosshairPos).slice(0, 3);
  const figure = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3));
  const capped = (value, volume) => (value !== null && volume.square && value >= volume.facts.high * 0.9999 ? "≥ " : "");
  const signed = ([x, y, z]) => [[x, "R", "L"], [y, "A", "P"], [z, "S", "I"]].map(([mm, up, down]) => `${mm < 0 ? down : up} ${Math.abs(mm).toFixed(1)}`).join("  ");
  const read = (world = [...place()]) => {
    at("world").textContent = `${signed(world)} mm`;
    for (const name of ["restored", "measured"]) at(`voxel-${name}`).textContent = through(page.grids[name], world).map((n) => Math.round(n)).join(" ");
    ["left-value", "right-value"].forEach((id, n) => {
      const value = images[n] && valueAt(images[n], world);
      at(id).textContent = images[n] ? capped(value, images[n]) + figure(value) : "";
    });
    at("overlay-value").textContent = over ? `${figure(valueAt(over, world))} ${layer(at("overlay").value).unit.split(" (")[0]}` : "";
  };

  const redraw = (change) => {
    viewers.forEach(change);
    viewers.forEach((viewer) => viewer.drawScene());
    read();
  };
  const zoom = (factor) => redraw((viewer) => {
    const next = factor ? Math.min(Math.max(viewer.scene.pan2Dxyzmm[3] * factor, 1), 20) : 1;
    const here = place();
    viewer.scene.pan2Dxyzmm = [...middle.map((mm, n) => (next === 1 ? 0 : mm - here[n])), next];
  });
  let middle = [0, 0, 0];
  const AXIS = { multi: 2, axial: 2, coronal: 1, sagittal: 0, render: 2 };
  const step = (by) => redraw((viewer) => viewer.moveCrosshairInVox(...[0, 1, 2].map((axis) => (axis === AXIS[at("planes").value] ? by : 0))));
  const choose = (id, by = 1) => {
    at(id).selectedIndex = (at(id).selectedIndex + by + at(id).length) % at(id).length;
    at(id).dispatchEvent(new Event("change"));
  };
  const planes = () => {
    for (const viewer of viewers) {
      viewer.opts.multiplanarShowRender = niivue.SHOW_RENDER.NEVER;
      viewer.setSliceType(viewer[SLICES[at("planes").value]]);
    }
    read();
  };
  const side = () => {
    kept("side", at("side").value);
    viewers.forEach((viewer) => viewer.setRadiologicalConvention(at("side").value === "R"));
  };

  // -- layouts --

  let timer = 0;
  const flip = (which = at("viewers").dataset.shown === "before" ? "after" : "before") => (at("viewers").dataset.shown = which);
  const layout = () => {
    const chosen = at("layout").value;
    at("viewers").dataset.layout = chosen;
    at("wipe-label").hidden = chosen !== "swipe";
    clearInterval(timer);
    flip("after");
    if (chosen === "flicker") timer = setInterval(flip, 700);
    requestAnimationFrame(() => viewers.forEach((viewer) => viewer.resizeListener()));
  };
  const wipe = () => at("viewers").style.setProperty("--cut", at("wipe").value);
  Object.assign(acts, {
    ArrowUp: () => step(1), ArrowDown: () => step(-1), "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: () => zoom(0),
    ",": () => move(0, -0.1), ".": () => move(0, 0.1), "[": () => move(-0.02, 0), "]": () => move(0.02, 0),
    b: () => at("background").click(), w: () => ((shown = [...page.window]), shade()), m: () => choose("layout"), i: () => choose("left"), o: () => choose("overlay"), l: () => choose("side"),
    " ": () => {
      at("layout").value = "flicker";
      if (at("viewers").dataset.layout !== "flicker") layout();
      clearInterval(timer);
      flip();
    },
    ...Object.fromEntries(ORDER.map((name, n) => [String(n + 1), () => ((at("planes").value = name), planes())])),
  });

  try {
    for (const id of ["before", "after"]) viewers.push(await open(id));
    at("side").value = kept("side") ?? "R";
    await fillBoth();
    viewers.forEach((viewer, n) => {
      viewer.broadcastTo([viewers[1 - n]], { "2d": true, "3d": true });
      viewer.onLocationChange = () => read();
    });
    const restored = loaded[at("right").value] && (await load(at("right").value));
    middle = through(restored.facts.affine, restored.facts.shape.map((size) => (size - 1) / 2));
    planes();
  } catch (error) {
    say(`Nothing can be drawn: ${error.message}. “Figures of this scan” above shows pictures without NiiVue.`);
    return;
  }
  at("layout").addEventListener("change", layout);
  at("wipe").addEventListener("input", wipe);
  at("left").addEventListener("change", fillBoth);
  at("right").addEventListener("change", fillBoth);
  at("overlay").addEventListener("change", fillBoth);
  at("planes").addEventListener("change", planes);
  at("side").addEventListener("change", side);
  at("background").addEventListener("click", () => {
    shown = shown[1] === page.faint[1] ? [...page.window] : [...page.faint];
    shade();
  });
  at("reset").addEventListener("click", () => {
    shown = [...page.window];
    zoom(0);
    shade();
  });
  for (const [n, id] of ["before", "after"].entries()) {
    const canvas = at(id);
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons & 2) return move(-event.movementY / 600, event.movementX / 200);
      const box = canvas.getBoundingClientRect();
      const ratio = viewers[n].uiData.dpr ?? devicePixelRatio;
      const where = viewers[n].canvasPos2frac([(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio]);
      if (where[0] >= 0) read(viewers[n].frac2mm(where).slice(0, 3));
      return undefined;
    });
    canvas.addEventListener("pointerleave", () => read());
  }
  document.body.dataset.ready = "true";
})();
