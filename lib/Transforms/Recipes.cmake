# Makes Recipes.inc of the folder Recipes: a line {"name", R"(text)"} of each
# file, in the order in which messages list them.
set(lines "")
foreach(name pst pst_wanda dense lora sparse_lora map mvp wanda ria)
  set(file ${CMAKE_CURRENT_SOURCE_DIR}/Recipes/${name}.mlir)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} text)
  string(APPEND lines "{\"${name}\", R\"mlir(${text})mlir\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/Recipes.inc CONTENT "${lines}" @ONLY)
