// percbal_ops._text: scores a list of Python strings on several threads, without the GIL.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/text/text_score.h"
#include "text/utf8.h"

namespace py = pybind11;

namespace percbal {
namespace {

// Borrowed views of str or bytes objects; the tuple keeps them alive without the GIL.
struct Texts {
  py::tuple owner;
  std::vector<RawText> raw;

  explicit Texts(const py::sequence& list, const char* name) : owner(py::tuple(list)) {
    raw.reserve(owner.size());
    for (size_t i = 0; i < owner.size(); ++i) {
      PyObject* o = PyTuple_GET_ITEM(owner.ptr(), static_cast<Py_ssize_t>(i));
      if (PyUnicode_Check(o)) {
#if PY_VERSION_HEX < 0x030C0000
        if (PyUnicode_READY(o) < 0) throw py::error_already_set();
#endif
        raw.push_back({PyUnicode_DATA(o), PyUnicode_GET_LENGTH(o),
                       PyUnicode_IS_ASCII(o) ? 0 : static_cast<int>(PyUnicode_KIND(o))});
      } else if (PyBytes_Check(o)) {
        raw.push_back({PyBytes_AS_STRING(o), PyBytes_GET_SIZE(o), 0});
      } else {
        throw py::type_error(std::string(name) + "[" + std::to_string(i) +
                             "] must be str or bytes, got " + Py_TYPE(o)->tp_name);
      }
    }
  }
};

struct Output {  // one row per completion
  py::array_t<uint8_t> status, span_status;
  py::array_t<int64_t> bytes, chars;
  py::array_t<float> scores;
  explicit Output(py::ssize_t n)
      : status(n), span_status({n, py::ssize_t{kSpans}}),
        bytes({n, py::ssize_t{kSpans}, py::ssize_t{2}}),
        chars({n, py::ssize_t{kSpans}, py::ssize_t{2}}), scores({n, py::ssize_t{5}}) {}
};

struct Rows {  // the same, as plain pointers for the threads
  uint8_t *status, *span_status;
  int64_t *bytes, *chars;
  float* scores;

  void write(int64_t i, const TextScore& s, std::string_view text) const {
    status[i] = static_cast<uint8_t>(s.status);
    const float values[5] = {s.exact, s.precision, s.recall, s.f1, s.edit_similarity};
    std::copy(values, values + 5, scores + 5 * i);
    for (int k = 0; k < kSpans; ++k) {
      const Span& span = s.spans[k];
      const int64_t at = (i * kSpans + k) * 2;
      span_status[i * kSpans + k] = static_cast<uint8_t>(span.status);
      bytes[at] = span.begin;
      bytes[at + 1] = span.end;
      chars[at] = characters_before(text, span.begin);
      chars[at + 1] = span.begin < 0 ? -1
                                     : chars[at] + characters_before(text.substr(span.begin),
                                                                     span.end - span.begin);
    }
  }
};

// Hands out blocks of completions, so that neighbours, often of one prompt, share a reference.
void score_blocks(const Texts& completions, const Texts& references, const Tags& tags,
                  Grammar grammar, int span, const Rows& rows, std::atomic<int64_t>& next,
                  std::atomic<int64_t>& bad_reference) {
  constexpr int64_t kBlock = 64;
  const int64_t n = completions.raw.size();
  TextScorer scorer(tags, grammar, span);
  std::string text_buffer, reference_buffer;
  for (;;) {
    const int64_t begin = next.fetch_add(kBlock);
    if (begin >= n) return;
    const void* last = nullptr;
    for (int64_t i = begin; i < std::min(n, begin + kBlock); ++i) {
      if (references.raw[i].data != last) {
        if (!scorer.set_reference(utf8(references.raw[i], reference_buffer))) {
          bad_reference = i;
          return;
        }
        last = references.raw[i].data;
      }
      const std::string_view text = utf8(completions.raw[i], text_buffer);
      rows.write(i, scorer.score(text), text);
    }
  }
}

py::dict score_text(const py::sequence& completions, const py::sequence& references,
                    const std::string& grammar_name, const Tags& tags, int span, int threads) {
  const std::vector<std::string> names = {"grid", "edges", "numbers", "text"};
  const auto found = std::find(names.begin(), names.end(), grammar_name);
  if (found == names.end()) throw py::value_error("unknown grammar " + grammar_name);
  const Grammar grammar = static_cast<Grammar>(found - names.begin());
  const Texts texts(completions, "completions"), truths(references, "references");
  if (texts.raw.size() != truths.raw.size())
    throw py::value_error("completions and references must have one length, got " +
                          std::to_string(texts.raw.size()) + " and " +
                          std::to_string(truths.raw.size()));
  Output out(texts.raw.size());
  const Rows rows{out.status.mutable_data(), out.span_status.mutable_data(),
                  out.bytes.mutable_data(), out.chars.mutable_data(), out.scores.mutable_data()};
  std::atomic<int64_t> next{0}, bad_reference{-1};
  std::atomic<bool> out_of_memory{false};
  {
    py::gil_scoped_release release;
    const auto work = [&] {
      try {
        score_blocks(texts, truths, tags, grammar, span, rows, next, bad_reference);
      } catch (const std::exception&) {  // an exception must not leave a thread
        out_of_memory = true;
      }
    };
    std::vector<std::thread> helpers;
    for (int t = 1; t < threads; ++t) helpers.emplace_back(work);
    work();
    for (std::thread& helper : helpers) helper.join();
  }
  if (out_of_memory) throw std::bad_alloc();
  if (bad_reference >= 0)
    throw py::value_error("references[" + std::to_string(bad_reference) +
                          "] is not in the grammar " + grammar_name);
  py::dict result;
  result["status"] = out.status;
  result["span_status"] = out.span_status;
  result["bytes"] = out.bytes;
  result["chars"] = out.chars;
  result["scores"] = out.scores;
  return result;
}

}  // namespace
}  // namespace percbal

PYBIND11_MODULE(_text, m) {
  m.def("score_text", &percbal::score_text, py::arg("completions"), py::arg("references"),
        py::arg("grammar"), py::arg("tags"), py::arg("span"), py::arg("threads"));
}
