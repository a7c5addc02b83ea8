# Makes OpPages.inc of the dialects' reference pages: R"(text)", of each.
set(lines "")
foreach(dialect NN PST)
  set(file ${PROJECT_SOURCE_DIR}/docs/generated/${dialect}Dialect.md)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} text)
  string(APPEND lines "R\"page(${text})page\",\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/OpPages.inc CONTENT "${lines}" @ONLY)
