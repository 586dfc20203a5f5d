// A picture from the camera: it is shown until the reader takes one, and is off again then.

import { h, note } from "./dom.js";

/** A part of a dialog; take(file) is given what was seen. Nothing where there is no camera to ask. */
export function camera(take) {
  if (!navigator.mediaDevices?.getUserMedia) return null;
  const video = h("video", {
    muted: true,
    playsinline: true,
    "aria-label": "What the camera sees",
  });
  const seen = h("div", { class: "camera" });
  const start = h("button", { type: "button", class: "quiet", onclick: begin }, "Camera");
  const shoot = h(
    "button",
    { type: "button", class: "primary", onclick: shot },
    "Take the picture",
  );
  const element = h("div", {}, start, seen);
  let stream = null;

  async function begin() {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      const words =
        error.name === "NotAllowedError"
          ? "The browser was not allowed to use the camera."
          : "No camera was found.";
      seen.replaceChildren(note(words));
      return;
    }
    element.closest("dialog")?.addEventListener("close", end, { once: true });
    video.srcObject = stream;
    shoot.disabled = true; // until there is something to be seen
    seen.replaceChildren(video, shoot);
    start.hidden = true;
    await video.play();
    shoot.disabled = false;
    shoot.focus();
  }

  async function shot() {
    const { videoWidth: width, videoHeight: height } = video;
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(video, 0, 0);
    end();
    take(new File([await canvas.convertToBlob()], "camera.png", { type: "image/png" }));
  }

  function end() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
    seen.replaceChildren();
    start.hidden = false;
  }

  return element;
}
