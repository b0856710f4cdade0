"use strict";
(async () => {
  const NAMES = ["input", "restored"];
  const at = (id) => document.getElementById(id);
  const say = (text) => {
    at("message").textContent = text;
    at("message").hidden = false;
  };

  if (!document.createElement("canvas").getContext("webgl2")) {
    say("This browser offers no WebGL 2, which the 3D view needs. Turn on hardware acceleration, or use another browser; the report on this scan needs none.");
    return;
  }

  const bytes = (id) => Uint8Array.from(atob(at(id).textContent), (letter) => letter.charCodeAt(0)).buffer;
  const open = async (name) => {
    const viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [1, 0.8, 0, 0.6], crosshairWidth: 0.5, fontColor: [1, 1, 1, 1], isOrientCube: true, isRadiologicalConvention: true,
      logLevel: "error", multiplanarPadPixels: 12, sagittalNoseLeft: true, show3Dcrosshair: true, showAllOrientationMarkers: true,
    });
    await viewer.attachTo(name);
    await viewer.loadFromArrayBuffer(bytes(`${name}-volume`), `${name}.nii.gz`);
    viewer.setInterpolation(true);
    viewer.opts.multiplanarShowRender = niivue.SHOW_RENDER.ALWAYS;
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    return viewer;
  };

  try {
    const viewers = [];
    for (const name of NAMES) viewers.push(await open(name));
    viewers.forEach((viewer, n) => viewer.broadcastTo([viewers[1 - n]], { "2d": true, "3d": true }));

    const shade = () => {
      for (const viewer of viewers) {
        viewer.volumes[0].cal_min = Number(at("low").value);
        viewer.volumes[0].cal_max = Math.max(Number(at("low").value) + 1, Number(at("high").value));
        viewer.updateGLVolume();
      }
    };
    at("low").addEventListener("input", shade);
    at("high").addEventListener("input", shade);
    shade();
    at("view").addEventListener("change", () => {
      const types = { multi: "sliceTypeMultiplanar", axial: "sliceTypeAxial", coronal: "sliceTypeCoronal", sagittal: "sliceTypeSagittal", render: "sliceTypeRender" };
      for (const viewer of viewers) viewer.setSliceType(viewer[types[at("view").value]]);
    });
    document.body.dataset.ready = "true";
  } catch (error) {
    say(`The 3D view could not be opened: ${error.message}. The report on this scan needs none of it.`);
  }
})();
