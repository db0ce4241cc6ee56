// Python's string storage as UTF-8.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace percbal {

struct RawText {
  const void* data;
  int64_t size;  // in units of `kind` bytes
  int kind;      // 0: bytes to be read as they are (ASCII str, or bytes); else 1, 2 or 4
};

inline void append_utf8(uint32_t c, std::string& out) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (c >> 6)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {  // lone surrogates too, three bytes each, as "surrogatepass" has it
    out.push_back(static_cast<char>(0xE0 | (c >> 12)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (c >> 18)));
    out.push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

template <class Unit>
void encode(const RawText& text, std::string& out) {
  const Unit* units = static_cast<const Unit*>(text.data);
  for (int64_t i = 0; i < text.size; ++i) append_utf8(units[i], out);
}

// A view of the text itself where it is UTF-8 already, else of `buffer`.
inline std::string_view utf8(const RawText& text, std::string& buffer) {
  if (text.kind == 0) return {static_cast<const char*>(text.data), static_cast<size_t>(text.size)};
  buffer.clear();
  if (text.kind == 1) encode<uint8_t>(text, buffer);
  if (text.kind == 2) encode<uint16_t>(text, buffer);
  if (text.kind == 4) encode<uint32_t>(text, buffer);
  return buffer;
}

// Characters among the first `bytes`: the bytes that do not continue one. -1 stays -1.
inline int64_t characters_before(std::string_view text, int64_t bytes) {
  if (bytes < 0) return -1;
  int64_t n = 0;
  for (const char c : text.substr(0, bytes)) n += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return n;
}

}  // namespace percbal
